"""A camera that is there and cannot be listed: told once with its reason, asked ever later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest.errors import SourceGoneError

if TYPE_CHECKING:
    from bodycam_ingest.docking.record import DockingRecord
    from bodycam_ingest.errors import IngestError

log = structlog.get_logger(__name__)

UNLISTABLE: Final = "camera_unlistable"
INCOMPLETE: Final = "inventory_incomplete"
# Whoever fixes the card or the mount waits at most so long for the next look.
_WAIT_MAX_S: Final = 60.0
_TRIES_MAX: Final = 16


class Unlisted:
    """What keeps one docking's camera from being listed to its end.

    Args:
        record: the docking's; holds its findings.
    """

    def __init__(self, record: DockingRecord) -> None:
        self._record = record
        self._tries = 0
        self._reported = ""
        self.reason = ""

    def failed(self, error: IngestError) -> None:
        """Note that a look at a camera that is still there came to nothing.

        Args:
            error: why.
        """
        self._tries += 1
        if isinstance(error, SourceGoneError) and self._tries == 1:
            # A file that the camera itself deletes just then; the next look tells.
            return
        self.reason = f"the camera cannot be listed: {error.message}"
        self._tell(UNLISTABLE, error.message, f"{error.code}: {error.message}. {error.hint}")

    def incomplete(self, why: str) -> None:
        """Note that part of the camera could not be listed; the rest is worked.

        Args:
            why: for people.
        """
        self._tries = 0
        self.reason = f"the camera cannot be listed to its end: {why}"
        self._tell(INCOMPLETE, why, f"part of it cannot be listed: {why}. What was listed is taken")

    def whole(self) -> None:
        """Note that the camera was listed to its end."""
        self._tries = 0
        self.reason = ""
        if self._reported:
            self._record.close_finding(self._reported)
            self._reported = ""
            log.info(
                "camera.listed_again", camera=self._record.row.camera, bay=self._record.row.bay
            )

    def wait_s(self, rescan_s: float) -> float:
        """Time until the next listing: longer each time while there is nothing to list, s."""
        wait_s: float = rescan_s * 2 ** min(self._tries, _TRIES_MAX)
        return max(rescan_s, min(_WAIT_MAX_S, wait_s))

    def _tell(self, code: str, message: str, detail: str) -> None:
        if self._reported == code:
            return
        row = self._record.row
        if self._reported:
            self._record.close_finding(self._reported)
        else:
            log.error(
                "camera.not_listed",
                camera=row.camera,
                bay=row.bay,
                docking_id=row.docking_id,
                finding=code,
                message=message,
            )
        self._record.raise_finding(
            code,
            f"camera {row.camera} in {row.bay}: {detail}. Look whether it is mounted so that the "
            "daemon's user may read it, and at its card; it is looked at again by itself",
        )
        self._reported = code
