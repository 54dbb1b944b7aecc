"""The log's signing key on disk: made once, mode 0600, never shown."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bodycam_ingest.custody.note import Signer
from bodycam_ingest.errors import KeyUnreadableError
from bodycam_ingest.linux import durable

if TYPE_CHECKING:
    from pathlib import Path

LOG_KEY: Final = "log.key"
_KEY_BYTES_MAX: Final = 16_384
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def create_log_key(path: Path, name: str) -> Signer:
    """Make a key, durably; its name is the log's origin.

    Raises:
        FileExistsError: there is one; it is as it was.
        OSError: the medium refused.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    durable.create_file(path, pem, mode=0o600)
    return Signer(name, private)


def load_log_key(path: Path, name: str, *, any_owner: bool = False) -> Signer:
    """Read a key; its name is the log's origin.

    With `any_owner` another user's file too, as root reads it: to compare with it, not to sign.

    Raises:
        KeyUnreadableError: it is missing, not the daemon's own file, open to others, or no
            Ed25519 key.
    """
    pem = _read_private(path, any_owner=any_owner)
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnreadableError(f"{path} holds no private key: {error}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyUnreadableError(f"{path} holds no Ed25519 key")
    return Signer(name, private)


def signing_fault() -> str:
    """Why Ed25519 does not work on this machine, found by trying; empty when it does."""
    try:
        private = Ed25519PrivateKey.generate()
        private.public_key().verify(private.sign(b"trial"), b"trial")
    except (UnsupportedAlgorithm, InternalError, InvalidSignature) as error:
        return str(error) or type(error).__name__
    return ""


def signing_library() -> str:
    """The library that computes signatures, with its version."""
    return backend.openssl_version_text()


def _read_private(path: Path, *, any_owner: bool) -> bytes:
    try:
        # Not by a link: it could lead to a file that others write.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            own = any_owner or status.st_uid == os.geteuid()
            if not stat.S_ISREG(status.st_mode) or not own:
                raise KeyUnreadableError(f"{path} is no file of the user with id {os.geteuid()}")
            if status.st_mode & _OPEN_TO_OTHERS:
                raise KeyUnreadableError(
                    f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
                    hint=f"Find out who read it, then: chmod 600 {path}",
                )
            return file.read(_KEY_BYTES_MAX)
    except OSError as error:
        raise KeyUnreadableError(f"{path}: {os.strerror(error.errno or 0)}") from error
