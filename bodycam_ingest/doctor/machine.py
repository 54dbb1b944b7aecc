"""The checks of `doctor`: is this machine fit, and what to do where it is not. Nothing is kept."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import platform
import re
import resource
import ssl
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ulid import ULID

from bodycam_ingest.config import FileCredentials, S3StoreConfig
from bodycam_ingest.doctor.result import Check, Outcome, fail, judge, ok, warn
from bodycam_ingest.linux import clock, group_access, mountinfo
from bodycam_ingest.model.amounts import size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bodycam_ingest.config import Config
    from bodycam_ingest.doctor.result import Check


_PYTHON_MIN: Final = (3, 11)
# openat2(2), which keeps reads inside of a camera's volume.
_KERNEL_MIN: Final = (5, 6)
_OPEN_FILES_MIN: Final = 1024
_WATCHES_MIN: Final = 8192
_STATE_FREE_BYTES_MIN: Final = 1_000_000_000
_BLOCK_BYTES: Final = 4096
_STATE_MODE: Final = 0o700
# File systems that forget, or that cannot be trusted with fsync.
_VOLATILE: Final = frozenset({"tmpfs", "ramfs", "overlay"})
_UNTOLD: Final = "unknown"
# These say something of the disk, not of O_DIRECT.
_DISK_FAULTS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def machine() -> Iterator[Check]:
    """Checks that need no configuration."""
    yield judge(
        "machine.python",
        platform.python_version(),
        good=sys.version_info[:2] >= _PYTHON_MIN,
        bad=Outcome.FAIL,
        todo="Install Python 3.11 or newer.",
    )
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    kernel = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    yield judge(
        "machine.kernel",
        platform.release(),
        good=platform.system() == "Linux" and kernel >= _KERNEL_MIN,
        bad=Outcome.FAIL,
        todo="Run Linux 5.6 or newer.",
    )
    yield judge(
        "machine.user",
        f"uid {os.geteuid()}",
        good=os.geteuid() != 0,
        bad=Outcome.WARN,
        todo="Run the daemon as a user of its own: it needs no root.",
    )
    synchronised = clock.synchronised()
    yield judge(
        "machine.clock",
        {True: "synchronised", False: "not synchronised", None: "unknown"}[synchronised],
        good=synchronised is True,
        bad=Outcome.WARN,
        todo="Enable NTP (timedatectl set-ntp true): times in the ledger come from this clock.",
    )
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield judge(
        "machine.open_files",
        "no limit" if soft == resource.RLIM_INFINITY else str(soft),
        good=soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES_MIN,
        bad=Outcome.WARN,
        todo=f"Raise LimitNOFILE of the service to {_OPEN_FILES_MIN} or more.",
    )
    yield from _inotify()


def _inotify() -> Iterator[Check]:
    path = Path("/proc/sys/fs/inotify/max_user_watches")
    try:
        watches = int(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        yield warn(
            "machine.inotify",
            "the kernel has no inotify",
            "Nothing is lost: cameras are found by the rescan, a little later.",
        )
        return
    yield judge(
        "machine.inotify",
        f"{watches} watches",
        good=watches >= _WATCHES_MIN,
        bad=Outcome.WARN,
        todo=f"sysctl fs.inotify.max_user_watches={_WATCHES_MIN}",
    )


def directories(config: Config) -> Iterator[Check]:
    """Checks on state, staging and mount roots."""
    yield from _state(config.dock.state_dir)
    yield from _staging(config)
    for root in config.cameras.mount_roots:
        fault = _unlistable(root)
        yield judge(
            "cameras.mount_roots",
            f"{root}: {fault}" if fault else str(root),
            good=not fault,
            bad=Outcome.FAIL,
            todo="Make it, readable for the daemon's user, or take it out of cameras.mount_roots.",
        )
    for store in config.stores:
        if isinstance(store, S3StoreConfig) and isinstance(store.credentials, FileCredentials):
            yield _private(f"stores.{store.name}.credentials", store.credentials.path)


def _unlistable(path: Path) -> str:
    """Why a directory cannot be listed, empty when it can."""
    if not path.exists():
        return "no such directory"
    if not path.is_dir():
        return "no directory"
    return "" if os.access(path, os.R_OK | os.X_OK) else "not readable for this user"


def _private(name: str, path: Path) -> Check:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return fail(name, f"{path}: {error.strerror}", "Put the file there.")
    return judge(
        name,
        f"{path}, mode {stat.S_IMODE(mode):04o}",
        good=not mode & 0o077 and os.access(path, os.R_OK),
        bad=Outcome.FAIL if not os.access(path, os.R_OK) else Outcome.WARN,
        todo="Give it to the daemon's user alone: mode 0600.",
    )


def _state(path: Path) -> Iterator[Check]:
    name = "dock.state_dir"
    try:
        status = path.stat()
    except OSError as error:
        yield fail(
            name,
            f"{path}: {error.strerror}",
            "Run `bodycam-ingest init` once as the daemon's user.",
        )
        return
    mode = stat.S_IMODE(status.st_mode)
    yield judge(
        name,
        f"{path}, mode {mode:04o}, owner uid {status.st_uid}",
        good=stat.S_ISDIR(status.st_mode)
        and mode & _STATE_MODE == _STATE_MODE
        and not group_access.is_open(status)
        and status.st_uid == os.geteuid(),
        bad=Outcome.FAIL,
        todo="chown it to the daemon's user and chmod it 0700; run doctor as that user.",
    )
    kind = file_system(path)
    yield judge(
        f"{name}.file_system",
        kind,
        good=kind not in _VOLATILE | {_UNTOLD},
        bad=Outcome.WARN,
        todo="Find out what it lies on: the ledger must survive a power cut."
        if kind == _UNTOLD
        else "Move it to a disk: the ledger must survive a power cut.",
    )
    yield space(f"{name}.free", path, _STATE_FREE_BYTES_MIN, Outcome.WARN)


def _staging(config: Config) -> Iterator[Check]:
    path, name = config.staging.dir, "staging.dir"
    if not path.is_dir():
        yield fail(
            name,
            f"{path} is no directory",
            "Make it, owned by the daemon's user, mode 0700.",
        )
        return
    probe = path / f".doctor-{ULID()}"
    try:
        direct = _writes_direct(probe)
    except OSError as error:
        yield fail(
            name,
            f"{path}: {error.strerror}",
            "Make it writable for the daemon's user; look for a full or read-only disk.",
        )
        return
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    yield ok(name, f"{path}, {file_system(path)}, writable")
    yield judge(
        f"{name}.direct",
        "O_DIRECT works" if direct else "no O_DIRECT",
        good=direct,
        bad=Outcome.WARN,
        todo="Copies are slower and the read-back relies on dropping the page cache; "
        "ext4 and XFS on a disk have it.",
    )
    shared = [str(p) for p in (Path("/"), config.dock.state_dir) if _same_device(path, p)]
    yield judge(
        f"{name}.own_file_system",
        f"shares one with {', '.join(shared)}" if shared else "has its own",
        good=not shared,
        bad=Outcome.WARN,
        todo="Give staging a file system of its own: a full staging then stops nothing else.",
    )
    yield space(f"{name}.free", path, config.staging.min_free_bytes, Outcome.FAIL)


def _same_device(one: Path, other: Path) -> bool:
    return other.exists() and one.stat().st_dev == other.stat().st_dev


def _writes_direct(probe: Path) -> bool:
    """Write one block past the page cache.

    Raises:
        OSError: not even a plain file can be written there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    os.close(os.open(probe, flags | os.O_EXCL, 0o600))
    try:
        fd = os.open(probe, flags | os.O_DIRECT)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, _BLOCK_BYTES) as block:
            return os.write(fd, block) == _BLOCK_BYTES
    except OSError as error:
        if error.errno in _DISK_FAULTS:
            raise
        return False
    finally:
        os.close(fd)


def space(name: str, path: Path, wanted_bytes: int, bad: Outcome) -> Check:
    """Whether a directory's file system has more than some bytes free."""
    found = os.statvfs(path)
    free_bytes = found.f_bavail * found.f_frsize
    return judge(
        name,
        f"{size(free_bytes)} free",
        good=free_bytes > wanted_bytes,
        bad=bad,
        todo=f"Free space: more than {size(wanted_bytes)} are needed.",
    )


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that holds a path, as the kernel names it; `unknown` if untold."""
    device = path.stat().st_dev
    kind = _UNTOLD
    for mount in mountinfo.parse(mounts.read_bytes()):
        if mount.device == device:
            kind = mount.fs_type
    return kind


_FIPS: Final = "machine.fips"
_ENABLED: Final = Path("/proc/sys/crypto/fips_enabled")
# Of the empty message (FIPS 180-4).
_EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def fips() -> Check:
    """The check, by looking and by trying."""
    return judge_fips(fips_mode(_ENABLED), sha256_fault(), ed25519_fault(), openssl_of_cryptography)


def judge_fips(
    on: bool | None,  # noqa: FBT001 - three answers of one question
    sha256: str,
    ed25519: str,
    signing_library: Callable[[], str],
) -> Check:
    """What is to be said, whether the kernel is in FIPS mode (None where it knows none) or not.

    The faults say why SHA-256 and signatures do not work; empty when they do.
    """
    mode = {
        None: "the kernel knows no FIPS mode",
        True: "FIPS mode is on",
        False: "FIPS mode is off",
    }
    faults = [f"{name}: {why}" for name, why in (("SHA-256", sha256), ("Ed25519", ed25519)) if why]
    if faults:
        return fail(
            _FIPS,
            f"{mode[on]}; {'; '.join(faults)}",
            "The ledger hashes with SHA-256 and signs with Ed25519 (FIPS 186-5). Install an "
            "OpenSSL that allows both, or take this machine out of FIPS mode."
            if on
            else "Install the program again (make install): its libraries do not fit this machine.",
        )
    if on:
        return warn(
            _FIPS,
            f"{mode[on]}; SHA-256 by {ssl.OPENSSL_VERSION}, Ed25519 by {signing_library()}, "
            "both work",
            "Have whoever answers for FIPS accept the library that signs: the one inside of the "
            "cryptography package is no validated module.",
        )
    return ok(_FIPS, f"{mode[on]}; SHA-256 and Ed25519 work")


def fips_mode(path: Path) -> bool | None:
    """Whether the kernel is in FIPS mode; None where it does not know of one."""
    try:
        return path.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return None


def sha256_fault() -> str:
    """Why SHA-256 does not work; empty when it does."""
    try:
        digest = hashlib.sha256(b"").hexdigest()
    except ValueError as error:
        return str(error)
    return "" if digest == _EMPTY_SHA256 else f"a wrong digest: {digest}"


def ed25519_fault() -> str:
    """Why signatures do not work; empty when they do."""
    try:
        from bodycam_ingest.db import keys  # noqa: PLC0415 - loads cryptography, which may not load
    except ImportError as error:
        return str(error)
    return keys.signing_fault()


def openssl_of_cryptography() -> str:
    """The library that computes signatures."""
    from bodycam_ingest.db import keys  # noqa: PLC0415 - the same

    return keys.signing_library()
