"""Reading and writing evidence on disks: buffers, direct I/O, hashing pumps, the staging area."""
