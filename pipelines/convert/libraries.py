"""Bounds the memory and the threads of a worker's libraries. Import it before NumPy and PyArrow.

Arrow's own allocator keeps freed memory that NumPy could use: converting a plane of a mesoscope
then peaks at 230 MB instead of 185 MB, in the same time (`python -m benchmarks.convert`). So does
malloc, which gives threads arenas of their own: fetching by byte ranges, the largest plane then
peaks at 437 MB instead of 286 MB.

The products of matrices are small, and the other cores have workers of their own: a second thread
of OpenBLAS mostly waits, spinning. With one, a plane costs 0.23 processor seconds less.
"""

import ctypes
import os

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_M_ARENA_MAX = -8  # from malloc.h
_libc = ctypes.CDLL(None)
if hasattr(_libc, "mallopt"):  # glibc
    _libc.mallopt(_M_ARENA_MAX, 1)
