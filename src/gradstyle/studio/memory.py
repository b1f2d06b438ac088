"""Gives freed memory back to the system."""

from __future__ import annotations

import ctypes
import sys


def keep_few_pools() -> None:
    """glibc keeps a pool of freed memory for each of many threads; two serve a studio as well."""
    if libc := _glibc():
        libc.mallopt(-8, 2)  # M_ARENA_MAX


def give_back() -> None:
    """Returns the freed memory that glibc holds; other systems' libraries do so by themselves."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
