"""Writes names and values as SQL text."""

from __future__ import annotations

import re

LAKE_ROOT = "lake_root"
"""DuckDB variable with the place of a lake that was moved: `SET VARIABLE lake_root = '/new/place'`.
"""


def literal(text: str) -> str:
    """Returns text as a SQL literal.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Returns a name as a quoted SQL identifier.

    >>> identifier("index")
    '"index"'
    """
    return '"' + name.replace('"', '""') + '"'


def as_pattern(path: str) -> str:
    """Returns a path as part of a file pattern, in which `[`, `*` and `?` have a meaning.

    >>> as_pattern("/data/run[1]")
    '/data/run[[]1]'
    """
    return re.sub(r"[\[*?]", r"[\g<0>]", path)
