"""The libraries that write NWB files, as `Any`.

They make most of their classes at run time, where no type checker can follow. Named here once, they
keep their users free of casts and of hundreds of reports about unknown types.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

h5py: Any = import_module("h5py")
pynwb: Any = import_module("pynwb")
common: Any = import_module("hdmf.common")
hdf5: Any = import_module("hdmf.backends.hdf5")
build: Any = import_module("hdmf.build")
build_warnings: Any = import_module("hdmf.build.warnings")
