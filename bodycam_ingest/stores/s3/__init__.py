"""An S3 bucket as a store. The only importer of botocore."""
