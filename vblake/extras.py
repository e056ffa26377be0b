"""Packages that only a part of vblake needs, installed with e.g. `pip install "vblake[sdk]"`."""

from __future__ import annotations

from importlib import import_module
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
        message = f'This needs {name}. Install it with: pip install "vblake[{extra}]"'
        raise ModuleNotFoundError(message, name=name) from None
