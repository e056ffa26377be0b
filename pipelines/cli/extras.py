"""Whether what a command needs is installed: reading a lake needs less than building one."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires

from schemas.errors import VblakeError


def require_build() -> None:
    """Makes sure that the packages of `vblake[build]` are installed, before any work is done.

    Raises:
        VblakeError: some are not.
    """
    declared = [line for line in requires("vblake") or () if re.search(r"extra == .build.", line)]
    names = [match[0] for line in declared if (match := re.match(r"[\w-]+", line))]
    if missing := [name for name in names if not _installed(name)]:
        raise VblakeError(
            f"This command builds lakes and needs packages that are not installed "
            f'({", ".join(missing)}). Install them with: pip install "vblake[build]"'
        )


def _installed(name: str) -> bool:
    try:
        distribution(name)  # looks for it, where `version` reads what it says of itself
    except PackageNotFoundError:
        return False
    return True
