"""What stands on a dock PC around the daemon, read for `doctor`; judged in `usb`.

Nothing here opens a block device or touches a camera's file system, and whatever else could hang
has a time limit: a camera that is stuck must not hold up the one who looks for the cause.
"""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.linux import mountinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bodycam_ingest.camera import UsbBlockDevice
    from bodycam_ingest.linux.mountinfo import Mount

RULES: Final = "90-bodycam-ingest.rules"
USER: Final = "bodycam-ingest"
# Where the mount unit works; below the root of the file system.
PROGRAM: Final = "opt/bodycam-ingest/current/libexec/bodycam-mount"
SHARE: Final = "opt/bodycam-ingest/current/share"
VOLUMES: Final = "run/bodycam-ingest/volumes"
# An instance that is never started: systemd reads the template for it.
MOUNT_UNIT: Final = "bodycam-mount@doctor.service"
SERVICE: Final = "bodycam-ingest.service"

_FAILED_MOUNTS: Final = (
    "systemctl list-units --no-pager --no-legend --plain --full --state=failed "
    "bodycam-mount@*.service"
)
_ANSWER_TIMEOUT_S: Final = 5.0
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
# As udev searches them: a file hides those of its name in the later ones.
_RULES_DIRECTORIES: Final = (
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/local/lib/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
)
_MODPROBE_DIRECTORIES: Final = ("etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d")
_MODULES: Final = ("usb_storage", "vfat", "exfat")
_TOOLS: Final = ("blkid", "blockdev", "mount", "mountpoint", "umount")
_MOUNTS: Final = re.compile(
    r'(?m)^[^#\n]*(?:RUN|SYSTEMD_WANTS)[^=\n]*=\s*"[^"\n]*(?<![\w.])(?:pmount|usbmount|udevil|mount)\b'
)
_BLOCKED: Final = re.compile(
    r"(?m)^\s*(?:blacklist\s+(\S+)|install\s+(\S+)\s+\S*/(?:true|false)\b)"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said; `fault` says why it is no answer, empty when it is one."""

    text: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Udev:
    """How udev stands.

    Args:
        fault: why libudev does not load; empty when it does.
        runs: whether its daemon listens.
        unauthorised: USB devices that the machine refuses to use, by the kernel's name.
    """

    fault: str
    runs: bool
    devices: tuple[UsbBlockDevice, ...] = ()
    unauthorised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of udev.

    Args:
        path: our file, the one that udev reads of that name; empty when there is none.
        text: what it says; empty as well when it cannot be read.
        shipped: what the installed package brings; None where that is not kept.
        mounting: other files of rules that mount something.
    """

    path: str
    text: str
    shipped: str | None
    mounting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Module:
    """A part of the kernel that cameras need; `blocked_by` names what keeps it from loading."""

    name: str
    loaded: bool
    available: bool
    blocked_by: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as systemd knows it; the words are systemd's."""

    load: str
    active: str
    sub: str
    file_state: str
    stale: bool


@dataclass(frozen=True, slots=True)
class Systemd:
    """What systemd says of our units, and why it says nothing where it does not."""

    fault: str
    units: dict[str, Unit]
    failed_mounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory that root relies on; `mode` is 0 when it is not there."""

    path: str
    mode: int
    uid: int


@dataclass(frozen=True, slots=True)
class MountHelp:
    """What the mount unit needs: a script, the directories that it mounts below, tools, a user."""

    program: Entry
    directories: tuple[Entry, ...]
    tools_missing: tuple[str, ...]
    user: bool


def ask(command: Sequence[str], timeout_s: float = _ANSWER_TIMEOUT_S) -> Answer:
    """Run a command that only tells; never waits longer than `timeout_s`."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        return Answer("", f"{command[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},
            encoding="utf-8",
            errors="backslashreplace",
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"{command[0]} did not answer within {timeout_s:g} s")
    except OSError as error:
        return Answer("", f"{command[0]}: {error.strerror}")
    if done.returncode != 0:
        told = done.stderr.strip().partition("\n")[0]
        return Answer("", told or f"{command[0]} ended with status {done.returncode}")
    return Answer(done.stdout)


def udev(root: Path, devices: Callable[[], Sequence[UsbBlockDevice]]) -> Udev:
    """How udev stands; `devices` asks libudev for the block devices on USB."""
    runs = (root / "run/udev/control").exists()
    try:
        found = tuple(devices())
    except (ImportError, OSError) as error:
        return Udev(str(error), runs)
    refused = tuple(
        path.parent.name
        for path in sorted(root.glob("sys/bus/usb/devices/*/authorized"))
        if _text(path).strip() == "0"
    )
    return Udev("", runs, found, refused)


def rules(root: Path) -> Rules:
    """Our rules as udev sees them, and others that mount."""
    seen: dict[str, Path] = {}
    for directory in _RULES_DIRECTORIES:
        for path in sorted((root / directory).glob("*.rules")):
            seen.setdefault(path.name, path)
    ours = seen.pop(RULES, None)
    shipped = root / SHARE / RULES
    return Rules(
        path="" if ours is None else _below(root, ours),
        text="" if ours is None else _text(ours),
        shipped=_text(shipped) if shipped.exists() else None,
        mounting=tuple(
            _below(root, p) for _, p in sorted(seen.items()) if _MOUNTS.search(_text(p))
        ),
    )


def modules(root: Path, release: str = "") -> list[Module]:
    """The parts of the kernel that cameras need, as the running one has them."""
    release = release or platform.release()
    loaded = {line.split()[-1] for line in _text(root / "proc/filesystems").splitlines() if line}
    if (root / "sys/bus/usb/drivers/usb-storage").is_dir():
        loaded.add("usb_storage")
    directory = root / "lib/modules" / release
    # Parts that are built in cannot be kept from loading.
    built_in = _listed(directory / "modules.builtin")
    available = _listed(directory / "modules.dep")
    blocked = dict(_blocked(root))
    if _text(root / "proc/sys/kernel/modules_disabled").strip() == "1":
        blocked |= dict.fromkeys(set(_MODULES) - loaded, "kernel.modules_disabled = 1")
    return [
        Module(
            name,
            loaded=name in loaded | built_in,
            available=name in available,
            blocked_by="" if name in built_in else blocked.get(name, ""),
        )
        for name in _MODULES
    ]


def _listed(path: Path) -> set[str]:
    """Modules of one of depmod's lists: a path at the beginning of each line."""
    return {_module(entry) for entry in re.findall(r"(?m)^([^\s:]+)", _text(path))}


def _blocked(root: Path) -> Iterator[tuple[str, str]]:
    for directory in _MODPROBE_DIRECTORIES:
        for path in sorted((root / directory).glob("*.conf")):
            for match in _BLOCKED.finditer(_text(path)):
                yield _module(match[1] or match[2]), _below(root, path)


def _module(path: str) -> str:
    """A module's name; hyphens and underscores mean the same in it."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def systemd(run: Callable[[Sequence[str]], Answer] = ask) -> Systemd:
    """What systemd says about our units."""
    wanted = "Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload"
    told = run(["systemctl", "show", "--no-pager", "-p", wanted, MOUNT_UNIT, SERVICE])
    if told.fault:
        # Not asked twice: the second answer would take as long.
        return Systemd(told.fault, {})
    units = dict(_units(told.text))
    failed = run(_FAILED_MOUNTS.split())
    if failed.fault:
        return Systemd(failed.fault, units)
    names = [line.split()[0] for line in failed.text.splitlines() if line.split()]
    return Systemd("", units, tuple(names))


def _units(text: str) -> Iterator[tuple[str, Unit]]:
    for block in re.split(r"\n{2,}", text.strip()):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        if "Id" in values:
            yield (
                values["Id"],
                Unit(
                    load=values.get("LoadState", ""),
                    active=values.get("ActiveState", ""),
                    sub=values.get("SubState", ""),
                    file_state=values.get("UnitFileState", ""),
                    stale=values.get("NeedDaemonReload") == "yes",
                ),
            )


def mount_help(root: Path, user: str = USER) -> MountHelp:
    """What the mount unit needs."""
    places = [root / place.lstrip("/") for place in _PATH.split(":")]
    try:
        pwd.getpwnam(user)
        known = True
    except KeyError:
        known = False
    return MountHelp(
        program=_entry(root, PROGRAM),
        directories=(_entry(root, os.path.dirname(VOLUMES)), _entry(root, VOLUMES)),  # noqa: PTH120 - below the root
        tools_missing=tuple(
            tool for tool in _TOOLS if not any((place / tool).exists() for place in places)
        ),
        user=known,
    )


def mounts(root: Path) -> tuple[Mount, ...]:
    """What is mounted."""
    return tuple(mountinfo.parse((root / "proc/self/mountinfo").read_bytes()))


def running(root: Path) -> frozenset[str] | None:
    """Names of the programs that run, at most 15 characters each; None where others are hidden.

    Command lines are not read: that blocks on a process which hangs in a dead disk.
    """
    if not (root / "proc/1/comm").exists():
        return None
    return frozenset(_text(path).strip() for path in root.glob("proc/[0-9]*/comm"))


def _entry(root: Path, place: str) -> Entry:
    mode, uid = 0, 0
    with contextlib.suppress(OSError):
        # Not through a link: root's script refuses one.
        status = os.lstat(root / place)
        mode, uid = status.st_mode, status.st_uid
    return Entry(f"/{place}", mode, uid)


def described(entry: Entry) -> str:
    """A file's mode and owner for people."""
    if not entry.mode:
        return f"{entry.path} is missing"
    return f"{entry.path}, {stat.filemode(entry.mode)}, owner uid {entry.uid}"


def _below(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"


def _text(path: Path) -> str:
    """What a small file says; empty when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""
