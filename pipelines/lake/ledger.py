"""The ledger, `source_files`: a row per NWB file, a Parquet file per mouse.

A mouse's ledger is published after its data, so it never names rows that are not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipelines.lake.store import DamagedError, Store, reading
from pipelines.lake.writer import write_table
from pipelines.release.selection import FileKind, FileTask
from schemas import SCHEMA_VERSION, TABLES
from schemas.casts import conform
from schemas.errors import LakeError
from schemas.known_defects import Occurrence
from schemas.layout import relative_path

LEDGER = TABLES["source_files"]


class Status(StrEnum):
    """The outcome of the last attempt to ingest a file."""

    INGESTED = "ingested"
    QUARANTINED = "quarantined"
    """The last attempt failed. Rows from an earlier one, if any, are still in the lake."""
    SKIPPED = "skipped"
    """The release names the file, but the source does not have it."""


@dataclass(frozen=True)
class Entry:
    """One row of the ledger; `schemas.tables.ledger` describes the attributes."""

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
    known_defects: tuple[Occurrence, ...] = ()
    row_counts: dict[str, int] = field(default_factory=dict[str, int])
    schema_version: str = SCHEMA_VERSION
    program_version: str = field(default_factory=lambda: version("vblake"))
    ingested_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def identity(self) -> tuple[str, str, int]:
        """Primary key of the ledger."""
        return (self.release, self.file_kind.value, self.file_key)

    def covers(self, task: FileTask) -> bool:
        """Whether the lake holds all rows that the task would read, from the same object."""
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


def _entries(mouse_id: int, table: pa.Table) -> Iterator[Entry]:
    for row in table.to_pylist():
        row["file_kind"] = FileKind(row["file_kind"])
        row["status"] = Status(row["status"])
        row["warnings"] = tuple(row["warnings"])
        row["known_defects"] = tuple(Occurrence(**item) for item in row["known_defects"])
        row["row_counts"] = {item["table_name"]: item["row_count"] for item in row["row_counts"]}
        yield Entry(mouse_id=mouse_id, **row)


def _columns(entries: list[Entry]) -> dict[str, Any]:
    columns: dict[str, Any] = {c.name: [getattr(e, c.name) for e in entries] for c in LEDGER.stored}
    columns["file_kind"] = [e.file_kind.value for e in entries]
    columns["status"] = [e.status.value for e in entries]
    columns["known_defects"] = [[asdict(d) for d in e.known_defects] for e in entries]
    columns["row_counts"] = [
        [{"table_name": t, "row_count": n} for t, n in e.row_counts.items()] for e in entries
    ]
    return columns


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
            f"{error}. Delete it and run `vblake ingest` for mouse {mouse_id} again, which reads "
            "the mouse's files again."
        ) from error


def read_ledger(store: Store, mice: Iterable[int] | None = None) -> Ledger:
    """The ledger of some mice, by default of all."""
    if mice is None:
        mice = [int(path.split("mouse_id=")[1].split("/")[0]) for path in store.files(LEDGER.name)]
    ledger: Ledger = {}
    for mouse in mice:
        ledger |= read_mouse(store, mouse)
    return ledger


def publish_mouse(store: Store, mouse_id: int, entries: Iterable[Entry], release: str) -> None:
    """Adds or replaces entries of one mouse."""
    ledger = read_mouse(store, mouse_id) | {e.identity: e for e in entries}
    rows = [ledger[identity] for identity in sorted(ledger)]
    store.staging.mkdir(parents=True, exist_ok=True)
    staged = store.staging / f"ledger-{mouse_id}.parquet"
    write_table(LEDGER, staged, [conform(LEDGER, _columns(rows), len(rows))], release=release)
    store.publish(staged, relative_path(LEDGER, mouse_id=mouse_id))
