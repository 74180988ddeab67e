"""The C library's allocator, told to keep what a step frees: the next step wants the same again."""

from __future__ import annotations

import ctypes

# mallopt's numbers, and values near the largest that it takes (malloc.h; glibc, 64 bits)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = {M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20, M_MMAP_THRESHOLD: 32 * 2**20}


def keep_freed_memory() -> bool:
    """Freed memory stays with the process; false where the C library is not glibc, and nothing is changed.

    By default glibc gives tensors of some MiB back to the system, which hands every page out anew, and zeroed, in the
    next step (docs/benchmarks.md says what that costs).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    taken = [mallopt(parameter, value) for parameter, value in SETTINGS.items()]
    return all(taken)
