"""Packages that are missing or do not go together, and what to install.

Some only a part of vblake needs, installed with e.g. `pip install "vblake[sdk]"`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def import_extra(name: str, extra: str = "sdk") -> ModuleType:
    """Imports a package that an extra of vblake installs.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise _missing(name, extra) from None


def check_extra(name: str, extra: str) -> None:
    """Makes sure that a package is installed that takes long to import and may not be needed.

    Raises:
        ModuleNotFoundError: it is not; the message says how to install it.
    """
    if find_spec(name) is None:
        raise _missing(name, extra)


def _missing(name: str, extra: str) -> ModuleNotFoundError:
    message = f'This needs {name}. Install it with: pip install "vblake[{extra}]"'
    return ModuleNotFoundError(message, name=name)


def pyarrow_problem() -> str | None:
    """Why PyArrow cannot be imported and what to install, None if it can.

    With NumPy 1, which AllenSDK has, pip installs a PyArrow that needs NumPy 2.
    """
    try:
        import_module("pyarrow")
    except ImportError as error:
        if "NumPy" in str(error):
            return f'{error}. Install an older PyArrow: pip install "pyarrow<23"'
        raise
    return None
