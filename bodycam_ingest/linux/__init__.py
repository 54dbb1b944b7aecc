"""System calls of Linux that evidence depends on: durable writes, direct I/O, clocks."""
