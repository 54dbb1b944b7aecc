"""Faults on the camera's side."""

from __future__ import annotations

from bodycam_ingest.errors.base import DelayClass, IngestError


class SourceError(IngestError):
    """Reading from a camera failed."""

    code = "source"
    delay_class = DelayClass.SHORT
    exit_code = 30
    default_hint = "Leave the camera docked; the item is tried again."


class SourceGoneError(SourceError):
    """The file, or the camera that holds it, is gone (ENODEV, ENOENT, ESTALE, ENXIO)."""

    code = "source_gone"
    exit_code = 31
    default_hint = "Dock the camera again; its items continue where they were."


class SourceUnreadableError(SourceError):
    """The medium fails under the file (EIO, EUCLEAN, a short read)."""

    code = "source_unreadable"
    delay_class = DelayClass.SLOW
    exit_code = 32
    alarm_at_once = True
    default_hint = "Keep the camera apart: its card may be failing. The item is tried again."


class SourceChangedError(SourceError):
    """The file changed while it was read."""

    code = "source_changed"
    exit_code = 33
    default_hint = "The camera still writes; the item is read again when it has settled."


class SourceForbiddenError(SourceError):
    """The daemon's user may not read the file (EACCES, EPERM)."""

    code = "source_forbidden"
    delay_class = DelayClass.SLOW
    exit_code = 34
    alarm_at_once = True
    default_hint = (
        "Let the daemon's user read it: look at the mode of the file and the options of its mount. "
        "It is tried again by itself, or now with `retry ITEM`."
    )


class SourceLimitError(SourceError):
    """A camera passed a limit that real cards never reach."""

    code = "source_limit"
    delay_class = DelayClass.SLOW
    exit_code = 35
    alarm_at_once = True
    default_hint = "Look at the card: its file system is damaged, or raise [cameras.limits]."
