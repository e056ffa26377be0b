"""A file as a plain dictionary: made, changed, and read as tables of the lake."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest

from pipelines.nwb.hdf5.values import HdfFile
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording
from schemas import TABLES
from schemas.casts import conform
from schemas.errors import DataError

Content = dict[str, Any]

NAME = "behavior_sessions/file.nwb"
"""What files are called in errors."""

NAN = float("nan")
INF = float("inf")

BEHAVIOR_SESSION_ID, OPHYS_SESSION_ID, EXPERIMENT_ID = 1001, 2001, 5001
KEYS = {
    "behavior_session_id": BEHAVIOR_SESSION_ID,
    "ophys_session_id": OPHYS_SESSION_ID,
    "ophys_experiment_id": EXPERIMENT_ID,
}

_numbers = itertools.count()


def _text(values: Any) -> bool:
    return isinstance(values, (str, bytes)) or (
        isinstance(values, list) and bool(values) and isinstance(values[0], (str, bytes))
    )


def _put(h5: h5py.File, path: str, value: Any) -> None:
    if "@" in path:
        path, name = path.split("@")
        node = h5[path] if path in h5 else h5.create_group(path)
        node.attrs[name] = (
            np.array(value, dtype=h5py.string_dtype())
            if _text(value) and isinstance(value, list)
            else value
        )
    elif isinstance(value, (h5py.SoftLink, h5py.ExternalLink)):
        h5[path] = value
    elif value is None:
        h5.require_group(path)
    elif _text(value):
        h5.create_dataset(
            path,
            data=np.array(value, dtype=object) if isinstance(value, list) else value,
            dtype=h5py.string_dtype(),
        )
    else:
        h5.create_dataset(path, data=value)


def make(content: Mapping[str, Any]) -> h5py.File:
    """The file in memory. Datasets come first, since attributes may be theirs."""
    h5 = h5py.File(f"{next(_numbers)}.nwb", "w", driver="core", backing_store=False)
    for path in sorted(content, key=lambda path: ("@" in path, path)):
        _put(h5, path, content[path])
    return h5


def changed(image: bytes, before: Content, after: Content) -> Recording:
    """A file made from `before`, given as its bytes, turned into that of `after`: much faster than making the whole of it."""
    h5 = h5py.File(io.BytesIO(image), "r+")
    gone = [path for path, value in before.items() if after.get(path) is not value]
    for path in gone:
        node, _, name = path.partition("@")
        if not name:
            del h5[path]
        elif node in h5 and name in h5[node].attrs:
            del h5[node].attrs[name]
    for path in sorted(
        (p for p, v in after.items() if before.get(p) is not v),
        key=lambda path: ("@" in path, path),
    ):
        _put(h5, path, after[path])
    return Recording(HdfFile(h5, NAME))


def recording(content: Mapping[str, Any]) -> Recording:
    """The file, ready to be read."""
    return Recording(HdfFile(make(content), NAME))


def without(content: Content, *prefixes: str) -> Content:
    """The same file without some objects, all that is in them, and their attributes. Columns of tables also leave their `colnames`."""
    gone = {
        p
        for p in content
        for prefix in prefixes
        if p == prefix or p.startswith((f"{prefix}/", f"{prefix}@"))
    }
    rest = {p: v for p, v in content.items() if p not in gone}
    for prefix in prefixes:
        folder, _, name = prefix.rpartition("/")
        listed = rest.get(f"{folder}@colnames")
        if listed is not None and name in listed:
            rest[f"{folder}@colnames"] = [n for n in listed if n != name]
    return rest


def read(table: str, source: Recording | Content) -> pa.Table:
    """All rows of a table of the lake as they would be written, keys included."""
    opened = source if isinstance(source, Recording) else recording(source)
    declared = TABLES[table]
    given = {c.name for c in declared.converted}
    keys = {k: v for k, v in KEYS.items() if k in given}
    batches = [
        conform(declared, {**keys, **rows.columns}, rows.count) for rows in READERS[table](opened)
    ]
    for batch in batches:
        batch.validate(full=True)
    return (
        pa.concat_tables(batches)
        if batches
        else conform(declared, {c.name: [] for c in declared.converted}, 0)
    )


def columns(table: str, source: Recording | Content, *names: str) -> dict[str, list[Any]]:
    """The same as Python values by column, without the keys; only some columns if they are named."""
    rows = read(table, source)
    return {
        name: rows.column(name).to_pylist()
        for name in names or rows.column_names
        if name not in KEYS
    }


def column(table: str, source: Recording | Content, name: str) -> list[Any]:
    """One column of a table."""
    return columns(table, source, name)[name]


def dynamic_table(
    path: str, values: Mapping[str, Any], ids: Sequence[int] | None = None
) -> Content:
    """A DynamicTable with one dataset per column, in this order."""
    rows = len(next(iter(values.values())))
    content: Content = {
        f"{path}/id": np.arange(rows) if ids is None else np.array(ids),
        f"{path}@colnames": list(values),
    }
    return content | {f"{path}/{name}": column for name, column in values.items()}


def ragged(path: str, rows: Sequence[Sequence[float]]) -> Content:
    """A ragged column as the release's writer has it: one empty text if there is nothing in it."""
    items = [item for row in rows for item in row]
    ends = np.cumsum([len(row) for row in rows]).astype(np.min_scalar_type(len(items)))
    return {path: np.array(items, dtype=np.float64) if items else [""], f"{path}_index": ends}


def problem(table: str, source: Recording | Content) -> str:
    """What the error says that reading a table ends with."""
    with pytest.raises(DataError) as caught:
        read(table, source)
    return str(caught.value)
