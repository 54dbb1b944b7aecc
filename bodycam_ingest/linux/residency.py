"""Whether a file's bytes lie in memory: what a read-back must know before it claims the medium."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final

_TMPFS_MAGIC: Final = 0x01021994
_RAMFS_MAGIC: Final = 0x858458F6
# struct statfs is 120 bytes on 64-bit Linux; its first field is a long, the type.
_STATFS_BYTES: Final = 256
_libc: Final = ctypes.CDLL(None, use_errno=True)


def on_memory_file_system(fd: int) -> bool:
    """Whether an open file's medium is memory itself (tmpfs, ramfs)."""
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, answer):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    kind = ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF
    return kind in {_TMPFS_MAGIC, _RAMFS_MAGIC}


def cached(fd: int, size_bytes: int) -> bool:
    """Whether any page of a file is in the page cache (mincore(2)).

    The kernel answers yes to whoever neither owns the file nor may write it.
    """
    if not size_bytes:
        return False
    pages = -(-size_bytes // mmap.PAGESIZE)
    marks = ctypes.create_string_buffer(pages)
    # A private writable mapping gives ctypes an address; nothing is ever written to it.
    with mmap.mmap(fd, size_bytes, access=mmap.ACCESS_COPY) as area:
        start = ctypes.c_char.from_buffer(area)
        failed = _libc.mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size_bytes), marks
        )
        code = ctypes.get_errno()
        del start
    if failed:
        raise OSError(code, os.strerror(code))
    return bool(marks.raw.strip(b"\0"))
