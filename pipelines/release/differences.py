"""What differs between two releases: their files, and the rows of their project tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.release.manifest import Release, ReleaseObject
from pipelines.release.project_tables import MANIFEST_NAMES, rows_of
from schemas import TABLES

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class FileChanges:
    """The files of a release compared with those of another, by key.

    Attributes:
        same: key, version and hash are the same.
        changed: the key is the same, the version or the hash is not; as in the new release.
        added: only the new release has the key.
        removed: only the old release has the key.
    """

    same: tuple[ReleaseObject, ...]
    changed: tuple[ReleaseObject, ...]
    added: tuple[ReleaseObject, ...]
    removed: tuple[ReleaseObject, ...]


@dataclass(frozen=True)
class RowChanges:
    """The rows of a project table compared with those of another release, by primary key.

    Attributes:
        same: rows that are equal in all columns.
        changed: rows whose key is in both releases, with another value in some column.
        added: rows whose key only the new release has.
        removed: rows whose key only the old release has.
        columns: for each column that changed, in how many rows.
    """

    same: int
    changed: int
    added: int
    removed: int
    columns: Mapping[str, int]


def compare_files(old: Iterable[ReleaseObject], new: Iterable[ReleaseObject]) -> FileChanges:
    """Compares the NWB files of two releases.

    >>> one, two = ReleaseObject("a.nwb", "v1", None), ReleaseObject("a.nwb", "v2", None)
    >>> compare_files([one], [two]).changed
    (ReleaseObject(key='a.nwb', version_id='v2', file_hash=None),)
    """
    before = {obj.key: obj for obj in old}
    after = {obj.key: obj for obj in new}
    both = sorted(before.keys() & after.keys())
    return FileChanges(
        same=tuple(after[key] for key in both if after[key] == before[key]),
        changed=tuple(after[key] for key in both if after[key] != before[key]),
        added=tuple(after[key] for key in sorted(after.keys() - before.keys())),
        removed=tuple(before[key] for key in sorted(before.keys() - after.keys())),
    )


def compare_tables(
    old: Mapping[str, pa.Table], new: Mapping[str, pa.Table]
) -> dict[str, RowChanges]:
    """Compares the project tables of two releases; a table that one lacks has no rows there.

    Args:
        old: the tables by the lake's names.
        new: those to compare with them.
    """
    return {
        name: _compare_rows(name, old.get(name), new.get(name))
        for name in MANIFEST_NAMES
        if name in old or name in new
    }


def _compare_rows(name: str, old: pa.Table | None, new: pa.Table | None) -> RowChanges:
    table = TABLES[name]
    columns = [column.name for column in table]
    before, after = ({} if rows is None else _by_key(name, rows, columns) for rows in (old, new))
    both = before.keys() & after.keys()
    differing: Counter[str] = Counter()
    changed = 0
    for key in both:
        if before[key] != after[key]:
            changed += 1
            pairs = zip(columns, before[key], after[key], strict=True)
            differing.update(column for column, one, other in pairs if one != other)
    return RowChanges(
        same=len(both) - changed,
        changed=changed,
        added=len(after) - len(both),
        removed=len(before) - len(both),
        columns={column: differing[column] for column in columns if column in differing},
    )


def _by_key(name: str, rows: pa.Table, columns: list[str]) -> dict[tuple[Any, ...], Any]:
    # A column may be missing in a lake that an older version of vblake has written.
    present = [column for column in columns if column in rows.column_names]
    lists = {column: rows.column(column).to_pylist() for column in present}
    absent = [None] * rows.num_rows
    records = zip(*(lists.get(column, absent) for column in columns), strict=True)
    return dict(zip(rows_of(rows, *TABLES[name].primary_key), records, strict=True))


def known_bytes(objects: Iterable[ReleaseObject], sizes: Mapping[str, int]) -> int:
    """The bytes of objects, as far as the source lists them."""
    return sum(sizes.get(obj.key, 0) for obj in objects)


def objects_of(release: Release) -> tuple[ReleaseObject, ...]:
    """The NWB files of a release, each once."""
    return tuple({obj.key: obj for obj in release.files.values()}.values())
