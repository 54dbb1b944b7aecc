"""An S3 bucket as a store. The only importer of botocore."""

from bodycam_ingest.stores.s3.client import S3Client
from bodycam_ingest.stores.s3.store import S3Store

__all__ = ["S3Client", "S3Store"]
