"""Names and values as SQL text."""

from __future__ import annotations

LAKE_ROOT = "lake_root"
"""Session variable that names the lake's place after it was moved: `SET VARIABLE lake_root = '/new/place'`."""


def literal(text: str) -> str:
    """Text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
