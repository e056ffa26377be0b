"""How worker processes keep memory. To be imported by the process that they are forked from, before Arrow and what else allocates.

What one file needed the next one needs again, but a page that was given back costs a fault and is cleared when it is taken again, a tenth
of a file's processor time: so glibc's heap keeps what was freed. Whole series still come and go by themselves, or what is fetched meanwhile
would break up the place for the next; the threads that fetch share one heap, or each would keep 10 MB of its own; and Arrow's allocator
(mimalloc) keeps for 0.3 s only what this heap cannot have. Without it a worker had 574 MB, not 415, after ten files from a bucket.
"""

from __future__ import annotations

import ctypes
import os

from pipelines.convert.workers import BYTES_PER_WORKER

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # <malloc.h>

os.environ.setdefault("MIMALLOC_PURGE_DELAY", "300")  # ms; read when Arrow is imported
if "CS_GNU_LIBC_VERSION" in os.confstr_names:
    for _option, _value in (
        (_ARENA_MAX, 1),
        (_MMAP_THRESHOLD, 32 << 20),
        (_TRIM_THRESHOLD, BYTES_PER_WORKER),
    ):
        ctypes.CDLL(None).mallopt(_option, _value)
