"""Names and values as SQL text."""

from __future__ import annotations

import re

LAKE_ROOT = "lake_root"
"""Session variable that names the lake's place after it was moved: `SET VARIABLE lake_root = '/new/place'`."""


def literal(text: str) -> str:
    """Text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def as_pattern(path: str) -> str:
    """A path as it is written in a pattern for files: a folder may be named `run[1]`."""
    return re.sub(r"[\[*?]", r"[\g<0>]", path)
