"""Whether the camera's copy may go, and whether the dock's own may."""

from bodycam_ingest.release.decision import Live, decide
from bodycam_ingest.release.purge import Purger
from bodycam_ingest.release.releaser import Releaser, docking_facts
from bodycam_ingest.release.store_witness import Witnesses

__all__ = ["Live", "Purger", "Releaser", "Witnesses", "decide", "docking_facts"]
