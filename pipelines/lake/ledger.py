"""The ledger, `source_files`: a row per NWB file, a Parquet file per mouse.

A mouse's ledger is published after its data, so it never names rows that are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, cached_property
from itertools import chain, pairwise, repeat
from typing import Any, NamedTuple, Self, cast

import pyarrow as pa

from pipelines.lake.store import DamagedError, Store, reading
from pipelines.lake.writer import write_table
from pipelines.release.selection import FileKind, FileTask
from schemas import SCHEMA_VERSION, TABLES, Table, session_parents
from schemas.casts import conform
from schemas.checks import Rule
from schemas.errors import DataError, LakeError
from schemas.known_defects import Occurrence
from schemas.layout import relative_path

LEDGER = TABLES["source_files"]

Identity = tuple[str, str, int]
"""Primary key of the ledger: release, kind of file, file_key."""


@cache
def program_version() -> str:
    """The version of vblake that is installed."""
    # Not imported by workers, which need no version: it takes 8 ms.
    from importlib.metadata import version

    return version("vblake")


class Status(StrEnum):
    """The outcome of the last attempt to ingest a file."""

    INGESTED = "ingested"
    PARTIAL = "partial"
    """Some of its tables are held back, the others are in the lake."""
    QUARANTINED = "quarantined"
    """The last attempt failed. Rows from an earlier one, if any, are still in the lake."""
    SKIPPED = "skipped"
    """The release names no usable file for the session or experiment."""


class TableStatus(StrEnum):
    """The outcome for one table of a file."""

    INGESTED = "ingested"
    HELD_BACK = "held_back"
    """Its rows break a rule and are not in the lake."""
    ABSENT = "absent"
    """The file has no rows of it."""
    NOT_REQUESTED = "not_requested"


_HELD_BACK, _NOT_REQUESTED = TableStatus.HELD_BACK, TableStatus.NOT_REQUESTED
"""For loops over all outcomes of a ledger: Python takes longer to find a member of an enumeration
than to compare it."""


class TableOutcome(NamedTuple):
    """What became of one table of a file. The ledger of all files has 150,000 of them.

    Attributes:
        table: the table.
        status: the outcome.
        rule: the rule that its rows break, if it is held back.
        column: where; a column of the table or a path in the NWB file.
        expected: what the rule asks for.
        found: what is there instead.
        rows: rows that the lake holds from the file.
        allowed_rules: rules that its rows break and that the user has allowed.
    """

    table: str
    status: TableStatus
    rule: str | None = None
    column: str | None = None
    expected: str | None = None
    found: str | None = None
    rows: int = 0
    allowed_rules: tuple[str, ...] = ()

    @classmethod
    def read(cls, table: str, rows: int, allowed_rules: Iterable[str] = ()) -> Self:
        """The outcome of a table whose rows may be published."""
        status = TableStatus.INGESTED if rows else TableStatus.ABSENT
        return cls(table, status, rows=rows, allowed_rules=tuple(allowed_rules))

    @classmethod
    def held_back(cls, table: str, error: DataError) -> Self:
        """The outcome of a table that an error holds back."""
        found = error.problem if error.found is None else error.found
        if error.rule == Rule.SOURCE_DATA and error.found is not None:
            found = f"{error.problem}: {error.found}"  # the rule alone does not say what is wrong
        return cls(table, TableStatus.HELD_BACK, error.rule, error.column, error.expected, found)

    @classmethod
    def of_parent(
        cls, table: str, parent: str, found: str | None = None, column: str | None = None
    ) -> Self:
        """The outcome of a table that depends on another that is held back.

        Args:
            table: the table.
            parent: the other one.
            found: why its rows are not there, by default because it is held back.
            column: what refers to it, if only some of its rows are missing.
        """
        error = DataError(
            "the table depends on another that is held back",
            column=column,
            expected=f"rows of {parent}",
            found=found or f"{parent} is held back",
            rule=Rule.PARENT_HELD_BACK.value,
        )
        return cls.held_back(table, error)

    def __str__(self) -> str:
        """What to tell the user of a table that is held back."""
        where = f", column {self.column}" if self.column else ""
        expected = f"expected {self.expected}, found " if self.expected else ""
        return f"table {self.table}{where}: rule {self.rule}: {expected}{self.found}"

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`, from JSON or Arrow."""
        values = dict(fields)
        values["status"] = TableStatus(values["status"])
        values["allowed_rules"] = tuple(values["allowed_rules"])
        return cls(**values)


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
    tables: tuple[TableOutcome, ...] = ()
    image_set: str | None = None
    images: tuple[str, ...] = ()
    schema_version: str = SCHEMA_VERSION
    program_version: str = field(default_factory=program_version)
    ingested_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def identity(self) -> Identity:
        """Primary key of the ledger."""
        return (self.release, self.file_kind, self.file_key)

    @property
    def requested(self) -> set[str]:
        """The tables that an ingest was asked for, whatever became of them."""
        return {t.table for t in self.tables if t.status is not _NOT_REQUESTED}

    @cached_property
    def row_counts(self) -> dict[str, int]:
        """Rows of each table that was read; tables that are held back are not among them."""
        read = (TableStatus.INGESTED, TableStatus.ABSENT)
        return {t.table: t.rows for t in self.tables if t.status in read}

    @cached_property
    def held_back(self) -> list[TableOutcome]:
        """The tables that are held back."""
        return [t for t in self.tables if t.status is _HELD_BACK]

    def outcome(self, table: str) -> TableStatus:
        """The outcome for a table."""
        found = (t.status for t in self.tables if t.table == table)
        return next(found, TableStatus.NOT_REQUESTED)

    def path_of(self, table: Table) -> str:
        """Where the lake has the rows of a table that come from this file."""
        return relative_path(
            table,
            mouse_id=self.mouse_id,
            behavior_session_id=self.behavior_session_id,
            ophys_session_id=self.ophys_session_id,
            ophys_experiment_id=self.ophys_experiment_id,
        )

    def with_outcome(self, outcome: TableOutcome) -> Entry:
        """The entry, written now, with another outcome for a table, which is held back."""
        tables = {t.table: t for t in (*self.tables, outcome)}
        status = Status.PARTIAL if self.status is Status.INGESTED else self.status
        now = datetime.now(UTC)
        return replace(self, tables=tuple(tables.values()), status=status, ingested_at=now)

    def allows(self, table: str, rule: str) -> bool:
        """Whether the user has allowed rows of a table in the lake to break a rule."""
        return any(t.table == table and rule in t.allowed_rules for t in self.tables)

    def covers(self, task: FileTask, giver: Entry | None = None) -> bool:
        """Whether to read the file again for a task would change nothing.

        A table that is held back is read again by another version of vblake, or once the rule that
        its rows break is allowed, or once what it waited for has come in.

        Args:
            task: the file and its tables.
            giver: the file that gives the session's behaviour; None if it is not in the ledger or
                will be read again.
        """
        if (
            self.status not in (Status.INGESTED, Status.PARTIAL)
            or self.schema_version != SCHEMA_VERSION
            or (self.object_key, self.version_id, self.file_hash)
            != (task.object.key, task.object.version_id, task.object.file_hash)
        ):
            return False
        if not self.requested.issuperset(task.tables):
            return False
        for outcome in self.held_back:
            if outcome.table in task.tables:
                allowed = (outcome.table, outcome.rule) in task.allowed
                mended = outcome.rule == Rule.PARENT_HELD_BACK and not self._waits(outcome, giver)
                if allowed or mended or self.program_version != program_version():
                    return False
        return True

    def _waits(self, outcome: TableOutcome, giver: Entry | None) -> bool:
        """Whether a table that waits for another would be held back again."""
        table = TABLES[outcome.table]
        if {t.table for t in self.held_back} & {*table.depends_on}:
            return True
        if giver is None or not session_parents(table):
            return False
        if outcome.column is not None:  # some rows were missing
            return giver.ingested_at <= self.ingested_at
        return lost_parent(table, giver) is not None


def lost_parent(table: Table, giver: Entry) -> str | None:
    """A table of the session's behaviour without which one of a plane is held back, None if none.

    That is one whose rows it refers to and which the lake does not have, though it was selected; or
    one from which it is computed, if those rows break a rule.

    Args:
        table: of a plane.
        giver: the file that gives the behaviour.
    """
    referred = {key.table for key in table.foreign_keys}
    for name in session_parents(table):
        outcome = giver.outcome(name)
        held_back = outcome is TableStatus.HELD_BACK
        no_file = outcome is TableStatus.NOT_REQUESTED and giver.status is Status.SKIPPED
        if (name in referred and (held_back or no_file)) or (held_back and not giver.error):
            return name
    return None


def givers(entries: Iterable[Entry]) -> dict[int, Entry]:
    """The files that give the behaviour, by session."""
    return {e.behavior_session_id: e for e in entries if e.gives_behavior}


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


Ledger = dict[Identity, Entry]


_STATUSES = {status.value: status for status in TableStatus}


def _outcomes(column: pa.ChunkedArray[Any]) -> list[tuple[TableOutcome, ...]]:
    """The column `tables`. Field by field, which takes a third of the time of a dictionary each."""
    rows: list[tuple[TableOutcome, ...]] = []
    for chunk in cast("list[Any]", column.chunks):
        items, offsets = chunk.values, chunk.offsets.to_pylist()
        fields: dict[str, Iterable[Any]] = {
            f.name: items.field(f.name).to_pylist()
            for f in items.type
            if f.name not in ("table", "status", "allowed_rules")
        }
        # Few texts many times, which then are the same objects.
        tables, statuses = (items.field(n).dictionary_encode() for n in ("table", "status"))
        fields["table"] = map(tables.dictionary.to_pylist().__getitem__, tables.indices.to_pylist())
        kinds = [_STATUSES[status] for status in statuses.dictionary.to_pylist()]
        fields["status"] = map(kinds.__getitem__, statuses.indices.to_pylist())
        rules = items.field("allowed_rules")
        none = not len(rules.flatten())  # as nearly always
        fields["allowed_rules"] = repeat((), len(rules)) if none else map(tuple, rules.to_pylist())
        values = zip(*(fields[name] for name in TableOutcome._fields), strict=True)
        made = list(map(TableOutcome._make, values))
        rows += [tuple(made[i:j]) for i, j in pairwise(offsets)]
    return rows


def _defects(items: Iterable[dict[str, Any]]) -> tuple[Occurrence, ...]:
    return tuple(Occurrence(**item) for item in items)


_FROM_ARROW: dict[str, Callable[[Any], Any]] = {
    "file_kind": FileKind,
    "status": Status,
    "warnings": tuple,
    "known_defects": _defects,
    "images": tuple,
}


def _entries(read: Mapping[int, pa.Table]) -> Iterator[Entry]:
    """The entries of some mice."""
    # As one table: for 107 mice that takes 0.05 s less than one by one.
    table = pa.concat_tables(read.values())
    # A lake of an earlier schema version may lack columns.
    columns: dict[str, Iterable[Any]] = {
        f.name: repeat(f.default) for f in fields(Entry) if f.default is not MISSING
    }
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = _outcomes(column) if name == "tables" else column.to_pylist()
        columns[name] = map(_FROM_ARROW[name], values) if name in _FROM_ARROW else values
    mice = (repeat(mouse, rows.num_rows) for mouse, rows in read.items())
    columns["mouse_id"] = chain.from_iterable(mice)
    # In the order of the fields: by their names it takes 0.03 s more for the whole dataset.
    return map(Entry, *(columns[f.name] for f in fields(Entry)))


def _columns(entries: list[Entry]) -> dict[str, Any]:
    columns: dict[str, Any] = {c.name: [getattr(e, c.name) for e in entries] for c in LEDGER.stored}
    columns["file_kind"] = [e.file_kind.value for e in entries]
    columns["status"] = [e.status.value for e in entries]
    columns["known_defects"] = [[asdict(d) for d in e.known_defects] for e in entries]
    columns["tables"] = [[t._asdict() for t in e.tables] for e in entries]
    return columns


def read_mouse(store: Store, mouse_id: int) -> Ledger:
    """The ledger of one mouse; empty if nothing was ingested for it.

    Raises:
        LakeError: it is damaged.
    """
    rows = _rows_of(store, mouse_id)
    return {} if rows is None else {e.identity: e for e in _entries({mouse_id: rows})}


def _rows_of(store: Store, mouse_id: int) -> pa.Table | None:
    path = relative_path(LEDGER, mouse_id=mouse_id)
    try:
        with reading(store, path):
            file = store.parquet(path)
            return None if file is None else file.read(use_threads=False)
    except DamagedError as error:
        raise LakeError(
            f"{error}. Delete it and run `vblake ingest` for mouse {mouse_id} again, which reads "
            "the mouse's files again."
        ) from error


def read_ledger(store: Store, mice: Iterable[int] | None = None) -> Ledger:
    """The ledger of some mice, by default of all."""
    if mice is None:
        mice = [int(path.split("mouse_id=")[1].split("/")[0]) for path in store.files(LEDGER.name)]
    with ThreadPoolExecutor(2) as readers:
        found = readers.map(lambda mouse: (mouse, _rows_of(store, mouse)), mice)
        read = {mouse: rows for mouse, rows in found if rows is not None}
    return {e.identity: e for e in _entries(read)} if read else {}


def publish_mouse(store: Store, mouse_id: int, entries: Iterable[Entry], release: str) -> None:
    """Adds or replaces entries of one mouse."""
    ledger = read_mouse(store, mouse_id) | {e.identity: e for e in entries}
    write_mouse(store, mouse_id, ledger.values(), release)


def write_mouse(store: Store, mouse_id: int, entries: Iterable[Entry], release: str) -> None:
    """Makes these entries the ledger of one mouse; without any, it has none."""
    rows = sorted(entries, key=lambda entry: entry.identity)
    if not rows:
        store.remove(relative_path(LEDGER, mouse_id=mouse_id))
        return
    store.staging.mkdir(parents=True, exist_ok=True)
    staged = store.staging / f"ledger-{mouse_id}.parquet"
    write_table(LEDGER, staged, [conform(LEDGER, _columns(rows), len(rows))], release=release)
    store.publish(staged, relative_path(LEDGER, mouse_id=mouse_id))
