"""What decides the values that a process converts: vblake's own code, and libraries."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("numpy", "pyarrow", "h5py", "deflate")


@cache
def fingerprint() -> dict[str, str]:
    """Returns the versions by name; for vblake a hash of its sources.

    Two processes with equal fingerprints convert a file to the same values.
    """
    import pipelines
    import schemas

    sources = hashlib.blake2b(digest_size=6)
    for package in (pipelines, schemas):
        folder = Path(*package.__path__)
        for path in sorted(folder.rglob("*.py")):
            sources.update(path.relative_to(folder.parent).as_posix().encode() + b"\0")
            sources.update(path.read_bytes() + b"\0")
    found = {
        "vblake's sources": sources.hexdigest(),
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def differences(here: dict[str, str], there: dict[str, str]) -> str:
    """Says in what another process differs from this one; empty if it does not.

    >>> differences({"numpy": "2.4.0", "h5py": "3.12"}, {"numpy": "2.3.1", "h5py": "3.12"})
    'numpy 2.3.1 (here 2.4.0)'
    """
    names = [name for name in here | there if here.get(name) != there.get(name)]
    return ", ".join(f"{n} {there.get(n, 'none')} (here {here.get(n, 'none')})" for n in names)
