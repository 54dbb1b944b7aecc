"""`python -m bodycam_ingest` is the same as `bodycam-ingest`."""

import sys

from bodycam_ingest.cli import main

if __name__ == "__main__":
    sys.exit(main())
