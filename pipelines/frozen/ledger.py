"""The ledger of a frozen lake: what it says of the machine that built the lake stays there."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

_LEAST = 4
"""Shorter names of machines are words of other meanings."""


def private_names(lake: str, source: str) -> dict[str, str]:
    """What is not to be published of this machine, and what stands for it.

    Args:
        lake: folder or URL of the lake.
        source: folder or URL that it was read from.
    """
    folders = {source: "SOURCE", lake: "LAKE", tempfile.gettempdir(): "TMP", str(Path.home()): "~"}
    names: dict[str, str] = {}
    for folder, name in folders.items():
        if folder and "://" not in folder and len(folder) > 1:
            names[folder] = name
            names[str(Path(folder).resolve())] = name
    host = socket.gethostname()
    if len(host) >= _LEAST:
        names[host] = "HOST"
    return names


def without_names(rows: pa.Table, names: Mapping[str, str]) -> pa.Table | None:
    """Rows with other words for names in all their texts; None if none of them occurs.

    >>> without_names(pa.table({"error": ["/data/vb/a.nwb: no", None]}), {"/data/vb": "SOURCE"})[0]
    <pyarrow.lib.ChunkedArray object at ...>
    [
      [
        "SOURCE/a.nwb: no",
        null
      ]
    ]
    """
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")

    def cleared(value: Any) -> Any:
        match value:
            case str():
                return pattern.sub(lambda found: names[found[0]], value)
            case list():
                return [cleared(item) for item in value]
            case dict():
                return {key: cleared(item) for key, item in value.items()}
            case _:
                return value

    before = rows.to_pylist()
    after = cleared(before)
    return None if after == before else pa.Table.from_pylist(after, rows.schema)
