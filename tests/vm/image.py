"""The disk of a dock PC for the virtual machine: Debian 12 with the software from `make install`.

    image = build(cache)    # minutes at first, seconds when nothing changed

Two steps are cached, each under a digest of what goes into it: Debian with a kernel, and on it the
product. Needs root (for chroot), apt, mmdebstrap and mkfs.ext4 on the host. pip runs in a chroot at
the host's speed: in an emulated machine it would take twenty times as long.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.vm import bootfiles

REPOSITORY: Final = Path(__file__).parent.parent.parent
GUEST: Final = Path(__file__).parent / "guest"
_SUITE: Final = "bookworm"
_KERNEL: Final = "linux-image-amd64"  # the one for clouds has no USB
_PACKAGES: Final = [
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "libpam-systemd",
    "python3",
    "python3-venv",
    "python3-pip",
    "sudo",
    "make",
    "util-linux",
    "procps",
    "iproute2",
    "ca-certificates",
]
_AGENT: Final = (GUEST / "agent.py", GUEST / "vmagent.service")
_DISK_SIZE: Final = "8G"  # sparse
# What `make install` looks at, so what the product's cache hangs on.
_PRODUCT: Final = (
    "bodycam_ingest",
    "systemd",
    "packaging",
    "requirements",
    "Makefile",
    "config.example.toml",
    "docs",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_MERELY_COPIED: Final = ("docs", "README.md", "LICENSE")
_FILES: Final = {
    "etc/hostname": "dock-test\n",
    "etc/hosts": "127.0.0.1 localhost dock-test\n10.0.2.2 host\n",
    "etc/fstab": "/dev/vda / ext4 defaults,errors=remount-ro 0 1\n",
    "etc/machine-id": "",
    # No name service and no gateway: only the host's loopback can be reached, as 10.0.2.2.
    "etc/resolv.conf": "",
    "etc/systemd/network/10-dock.network": (
        "[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\n"
        "IPv6AcceptRA=no\n"
    ),
    "etc/systemd/journald.conf.d/vm.conf": (
        "[Journal]\nStorage=persistent\nForwardToConsole=no\nSystemMaxUse=64M\nRateLimitBurst=0\n"
    ),
}
_ENABLED: Final = ("vmagent.service", "systemd-networkd.service")
_MASKED: Final = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-networkd-wait-online.service",
    "systemd-network-generator.service",
    "systemd-timesyncd.service",
)


@dataclass(frozen=True)
class Image:
    """What a machine starts from; never written to.

    Args:
        disk: raw disk with one file system.
        kernel: unpacked kernel.
        initrd: initial file system.
    """

    disk: Path
    kernel: Path
    initrd: Path


def build(cache: Path) -> Image:
    """The image of the product as it stands in this checkout.

    Args:
        cache: a directory that may be kept from run to run, and deleted at any time.

    Raises:
        RuntimeError: not root.
        subprocess.CalledProcessError: a step failed; its output says why.
    """
    if os.geteuid() != 0:
        raise RuntimeError("building the machine's disk needs root, for chroot")
    cache.mkdir(parents=True, exist_ok=True)
    packages = debian(cache)
    product = [REPOSITORY / name for name in _PRODUCT if name not in _MERELY_COPIED]
    key = _digest(packages.name, *product, Path(__file__), *_AGENT)
    image = Image(
        cache / f"dock-{key}.raw",
        cache / f"{packages.stem}.vmlinux",
        cache / f"{packages.stem}.initrd",
    )
    if not all(path.exists() for path in (image.disk, image.kernel, image.initrd)):
        for old in cache.glob("dock-*.raw*"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=cache) as directory:
            _assemble(packages, image, Path(directory))
    return image


def _digest(*parts: str | Path) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
            continue
        files = [part] if part.is_file() else sorted(part.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(REPOSITORY)).encode() + b"\0")
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _say(what: str) -> None:
    print(f"image: {what}", file=sys.stderr, flush=True)


def _run(*command: str | Path, **options: object) -> None:
    subprocess.run(  # type: ignore[call-overload]
        [str(word) for word in command],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        **options,
    )


def debian(cache: Path) -> Path:
    """Debian's packages and a kernel, as a tar file."""
    key = _digest(" ".join([_SUITE, _KERNEL, *_PACKAGES]), Path(bootfiles.__file__))
    tar = cache / f"debian-{key}.tar"
    if tar.exists():
        return tar
    _say("Debian, by mmdebstrap")
    # The kernel is fetched and never configured: that would make an initial file system that
    # takes a minute to build and seconds to boot.
    fetch_kernel = (
        'set -e; cd "$1"; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; '
        f"real=$(apt-cache depends {_KERNEL} | sed -n "
        '"s/.*Depends: \\(linux-image-[0-9][^ ]*\\)/\\1/p" | head -n 1); '
        "mkdir -p opt/vmkernel; cd opt/vmkernel; "
        f'apt-get -qq download "${{real:-{_KERNEL}}}" busybox-static'
    )
    unwanted = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        part = Path(directory) / "debian.tar"
        _run(
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--quiet",
            f"--include={','.join(_PACKAGES)}",
            "--aptopt=Acquire::Languages none",
            *unwanted,
            f"--customize-hook={fetch_kernel}",
            _SUITE,
            part,
        )
        part.rename(tar)
    return tar


def _assemble(packages: Path, image: Image, directory: Path) -> None:
    root = directory / "root"
    root.mkdir()
    _run("tar", "-C", root, "--numeric-owner", "--xattrs", "-xpf", packages)
    bootfiles.install_kernel(root, image.kernel, image.initrd)
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for source, place in zip(
        _AGENT, ("usr/local/sbin/vmagent", "etc/systemd/system/"), strict=True
    ):
        shutil.copy(source, root / place)
    _run("chroot", root, "passwd", "-q", "-d", "root")
    _run("chroot", root, "systemctl", "-q", "enable", *_ENABLED)
    _run("chroot", root, "systemctl", "-q", "mask", *_MASKED)
    _say("the product, by make install")
    _install(root, directory)
    for old in ("var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(root / old, ignore_errors=True)
    part = image.disk.with_suffix(".raw.part")
    _run(
        *("mkfs.ext4", "-q", "-F", "-L", "dockroot", "-E", "lazy_itable_init=1,nodiscard"),
        *("-O", "^metadata_csum_seed", "-d", root, part, _DISK_SIZE),
    )
    part.rename(image.disk)


def copy_checkout(source: Path) -> None:
    """Put what `make install` looks at into a directory that is not there yet."""
    source.mkdir(parents=True)
    for name in _PRODUCT:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, source / name)


def _install(root: Path, directory: Path) -> None:
    """`make install`, in the guest's own file system, as an admin would."""
    source = root / "usr/src/bodycam-ingest"
    wheels = root / "tmp/wheels"
    copy_checkout(source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    _run(
        *(*pip, "download", "-qq", "--require-hashes", "--only-binary=:all:"),
        *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3"),
        *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
        *("--platform", "any", "-r", REPOSITORY / "requirements/run.txt", "-d", wheels),
    )
    _run(
        *(*pip, "wheel", "-qq", "--no-deps", "--no-build-isolation", "--no-index"),
        *("-w", directory, source),
    )
    shutil.rmtree(source / "build", ignore_errors=True)
    (wheel,) = directory.glob("bodycam_ingest-*.whl")
    shutil.copy(wheel, wheels)
    _run(
        *("chroot", root, "make", "--quiet", "-C", "/usr/src/bodycam-ingest", "install"),
        f"WHEEL=/tmp/wheels/{wheel.name}",
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/tmp/wheels",
            "PIP_NO_CACHE_DIR": "1",
        },
    )
    shutil.rmtree(wheels)
