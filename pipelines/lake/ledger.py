"""The ledger, `source_files`: one row per NWB file, one Parquet file per mouse, published after the data it speaks of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipelines.lake.damage import DamagedError, reading
from pipelines.lake.store import Store
from pipelines.lake.writer import write_table
from pipelines.release.selection import FileKind, FileTask
from schemas import SCHEMA_VERSION, TABLES
from schemas.casts import conform
from schemas.errors import LakeError
from schemas.layout import relative_path

LEDGER = TABLES["source_files"]


class Status(StrEnum):
    """What became of a file."""

    INGESTED = "ingested"
    QUARANTINED = "quarantined"
    """The last attempt failed; rows from an earlier one, if any, are still in the lake."""
    SKIPPED = "skipped"
    """The release names the file, but the source does not have it."""


@dataclass(frozen=True)
class Entry:
    """One row of the ledger; the attributes are described in `schemas.tables.ledger`."""

    mouse_id: int
    release: str
    file_kind: FileKind
    file_key: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    gives_behavior: bool
    object_key: str | None
    version_id: str | None
    file_hash: str | None
    bytes: int | None
    bytes_fetched: int
    status: Status
    error: str | None = None
    warnings: tuple[str, ...] = ()
    row_counts: dict[str, int] = field(default_factory=dict[str, int])
    schema_version: str = SCHEMA_VERSION
    program_version: str = field(default_factory=lambda: version("vblake"))
    ingested_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def identity(self) -> tuple[str, str, int]:
        """Primary key of the ledger."""
        return (self.release, self.file_kind.value, self.file_key)

    def covers(self, task: FileTask) -> bool:
        """Whether the lake holds all that the task would read, from the same object and in the present schema."""
        return (
            self.status is Status.INGESTED
            and self.schema_version == SCHEMA_VERSION
            and (self.object_key, self.version_id, self.file_hash)
            == (task.object.key, task.object.version_id, task.object.file_hash)
            and set(task.tables) <= set(self.row_counts)
        )


def entry_for(task: FileTask, status: Status, **fields: Any) -> Entry:
    """A ledger entry for a task."""
    return Entry(
        mouse_id=task.mouse_id,
        release=task.release,
        file_kind=task.kind,
        file_key=task.file_key,
        behavior_session_id=task.behavior_session_id,
        ophys_session_id=task.ophys_session_id,
        ophys_experiment_id=task.ophys_experiment_id,
        gives_behavior=task.gives_behavior,
        object_key=task.object.key,
        version_id=task.object.version_id,
        file_hash=task.object.file_hash,
        bytes=task.bytes,
        status=status,
        **fields,
    )


Ledger = dict[tuple[str, str, int], Entry]


def _entries(mouse_id: int, table: pa.Table) -> Iterable[Entry]:
    for row in table.to_pylist():
        counts = {item["table_name"]: item["row_count"] for item in row.pop("row_counts")}
        kind, status = FileKind(row.pop("file_kind")), Status(row.pop("status"))
        yield Entry(
            mouse_id=mouse_id,
            file_kind=kind,
            status=status,
            row_counts=counts,
            warnings=tuple(row.pop("warnings")),
            **row,
        )


def read_mouse(store: Store, mouse_id: int) -> Ledger:
    """The ledger of one mouse; empty if nothing was ingested for it.

    Raises:
        LakeError: it is damaged.
    """
    path = relative_path(LEDGER, mouse_id=mouse_id)
    try:
        with reading(store, path):
            file = store.parquet(path)
            return {} if file is None else {e.identity: e for e in _entries(mouse_id, file.read())}
    except DamagedError as error:
        raise LakeError(
            f"{error}. Delete it and run `vblake ingest` for mouse {mouse_id} again: its files are read anew."
        ) from error


def read_ledger(store: Store, mice: Iterable[int] | None = None) -> Ledger:
    """The ledger of some mice, by default of all."""
    if mice is None:
        mice = [int(path.split("mouse_id=")[1].split("/")[0]) for path in store.files(LEDGER.name)]
    return {
        identity: entry for mouse in mice for identity, entry in read_mouse(store, mouse).items()
    }


def publish_mouse(store: Store, mouse_id: int, entries: Iterable[Entry], release: str) -> None:
    """Adds or replaces entries of one mouse."""
    ledger = read_mouse(store, mouse_id)
    ledger |= {e.identity: e for e in entries}
    rows = [ledger[identity] for identity in sorted(ledger)]
    columns: dict[str, Any] = {c.name: [getattr(e, c.name) for e in rows] for c in LEDGER.stored}
    columns["file_kind"] = [e.file_kind.value for e in rows]
    columns["status"] = [e.status.value for e in rows]
    columns["warnings"] = [list(e.warnings) for e in rows]
    columns["row_counts"] = [
        [{"table_name": t, "row_count": n} for t, n in e.row_counts.items()] for e in rows
    ]
    store.staging.mkdir(parents=True, exist_ok=True)
    staged = store.staging / f"ledger-{mouse_id}.parquet"
    write_table(LEDGER, staged, [conform(LEDGER, columns, len(rows))], release=release)
    store.publish(staged, relative_path(LEDGER, mouse_id=mouse_id))
