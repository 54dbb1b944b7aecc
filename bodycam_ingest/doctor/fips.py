"""Whether SHA-256 and Ed25519 work here, and what FIPS mode means for them."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bodycam_ingest.doctor.result import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.doctor.result import Check

_NAME: Final = "machine.fips"
_ENABLED: Final = Path("/proc/sys/crypto/fips_enabled")
# Of the empty message (FIPS 180-4).
_EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def check() -> Check:
    """The check, by looking and by trying."""
    return judge(fips_mode(_ENABLED), sha256_fault(), ed25519_fault(), openssl_of_cryptography)


def judge(
    on: bool | None,  # noqa: FBT001 - three answers of one question
    sha256: str,
    ed25519: str,
    signing_library: Callable[[], str],
) -> Check:
    """What is to be said.

    Args:
        on: whether the kernel is in FIPS mode; None where it knows none.
        sha256: why SHA-256 does not work; empty when it does.
        ed25519: the same of signatures.
        signing_library: tells what computes the signatures.
    """
    mode = {
        None: "the kernel knows no FIPS mode",
        True: "FIPS mode is on",
        False: "FIPS mode is off",
    }
    faults = [f"{name}: {why}" for name, why in (("SHA-256", sha256), ("Ed25519", ed25519)) if why]
    if faults:
        return fail(
            _NAME,
            f"{mode[on]}; {'; '.join(faults)}",
            "The ledger hashes with SHA-256 and signs with Ed25519 (FIPS 186-5). Install an "
            "OpenSSL that allows both, or take this machine out of FIPS mode."
            if on
            else "Install the program again (make install): its libraries do not fit this machine.",
        )
    if on:
        return warn(
            _NAME,
            f"{mode[on]}; SHA-256 by {ssl.OPENSSL_VERSION}, Ed25519 by {signing_library()}, "
            "both work",
            "Have whoever answers for FIPS accept the library that signs: the one inside of the "
            "cryptography package is no validated module.",
        )
    return ok(_NAME, f"{mode[on]}; SHA-256 and Ed25519 work")


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
