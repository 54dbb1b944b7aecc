"""One camera from attach to detach: compare with its history, record, have it read, undock."""

from bodycam_ingest.docking.camera_findings import MountRoots
from bodycam_ingest.docking.docking import Docking, Rules
from bodycam_ingest.docking.manager import CameraIdentification, DockingManager
from bodycam_ingest.docking.undock import RESTARTED, Absentees, DockContext, end_docking

__all__ = [
    "RESTARTED",
    "Absentees",
    "CameraIdentification",
    "DockContext",
    "Docking",
    "DockingManager",
    "MountRoots",
    "Rules",
    "end_docking",
]
