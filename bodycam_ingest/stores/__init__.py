"""Places where evidence goes: a directory, a bucket. The only importer of boto3 and tenacity."""
