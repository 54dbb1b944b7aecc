"""What systemd is told: ready, alive, stopping (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from typing import Final

from bodycam_ingest.log import log

_TIMEOUT_S: Final = 1.0


def notify(*lines: str) -> bool:
    """Send state lines such as `READY=1` (sd_notify(3)); whether there was a manager to tell."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # A manager that does not listen must not hold up the supervisor.
            sock.settimeout(_TIMEOUT_S)
            sock.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        log.warning("daemon.notify_failed", error=str(error))
        return False
    return True


def still_starting() -> None:
    """Have systemd wait for another minute for a start that takes long and moves."""
    notify("EXTEND_TIMEOUT_USEC=60000000")


def watchdog_interval_s() -> float | None:
    """How often systemd wants to hear `WATCHDOG=1`: half its limit; None when it does not."""
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 2_000_000
