"""Places where evidence goes: a directory, a bucket. The only importer of botocore and tenacity."""
