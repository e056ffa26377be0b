"""Bounds the memory and the threads of a worker's libraries. Import it before NumPy and PyArrow.

Arrow's own allocator keeps freed memory that NumPy could use: converting a plane of a mesoscope
then peaks at 230 MB instead of 185 MB, in the same time (`python -m benchmarks.convert`). So does
malloc, which gives threads arenas of their own: fetching by byte ranges, the largest plane then
peaks at 437 MB instead of 286 MB.

malloc keeps up to 128 MB that are free, and takes blocks of up to 32 MB from them. By default it
returns more of them to the kernel, which clears every page anew: 0.08 processor seconds of a plane
of 670 MB, 0.1 if it is fetched over HTTP.

The products of matrices are small, and the other cores have workers of their own: a second thread
of OpenBLAS mostly waits, spinning. With one, a plane costs 0.23 processor seconds less.
"""

import ctypes
import os

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from malloc.h
_libc = ctypes.CDLL(None)
if hasattr(_libc, "mallopt"):  # glibc
    _libc.mallopt(_M_ARENA_MAX, 1)
    _libc.mallopt(_M_TRIM_THRESHOLD, 128 << 20)
    _libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
