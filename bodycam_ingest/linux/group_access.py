"""Who may read the state directory beside the daemon's user: one group, by its name.

Nothing here gives rights away. The service's start does, or an admin by hand: the directory
belongs to the group with mode 2750, so that what the daemon makes in it does as well. The daemon
then leaves its files readable for the group; keys never are.
"""

from __future__ import annotations

import grp
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os
    from pathlib import Path

GROUP: Final = "bodycam-audit"
_READS: Final = stat.S_IRGRP | stat.S_IXGRP


def _is_audited(status: os.stat_result) -> bool:
    try:
        return status.st_gid == grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return False


def is_open(status: os.stat_result) -> bool:
    """Whether others than the state directory's owner have rights that nobody was meant to have."""
    others = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if others & ~_READS:
        return True
    return bool(others) and not _is_audited(status)


def file_mode(directory: Path) -> int:
    """The mode of a file in the state directory that the group may read where it may read that."""
    try:
        status = directory.stat()
    except OSError:
        return 0o600
    return 0o640 if status.st_mode & stat.S_IRGRP and _is_audited(status) else 0o600
