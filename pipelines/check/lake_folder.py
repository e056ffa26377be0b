"""The tables of one Hive folder of a lake, held against the rules: a mouse, or an image set.

The rules are those that workers apply before publication (`pipelines.check.recording`). Folders are
independent of each other, so each can be checked in another process (`pipelines.check.lake_pool`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from weakref import proxy

import numpy as np
import pyarrow as pa

from pipelines.check.finding import Finding, some
from pipelines.check.lake_files import LakeFile, read_file
from pipelines.check.recording import Frames, RecordingCheck
from pipelines.lake.ledger import Entry, TableStatus
from pipelines.lake.store import Store
from schemas import TABLES, ForeignKey, Subject, Table
from schemas.casts import NDArray
from schemas.checks import Clock, Level
from schemas.known_defects import Evidence
from schemas.layout import relative_path

_CLOCKS_FIRST = sorted(TABLES.values(), key=lambda table: table.name not in tuple(Clock))
"""Tables in the order in which they are read: other tables are compared with the clocks."""

Unit = tuple[Subject, int]
"""A session or experiment."""


@dataclass(frozen=True)
class Folder:
    """What is to be checked together.

    Attributes:
        paths: the files of each table.
        entries: the ledger of the mouse, by the session or experiment that rows come from.
    """

    paths: Mapping[str, list[str]]
    entries: Mapping[Unit, Entry]

    @property
    def in_order(self) -> Iterator[tuple[Table, list[str]]]:
        """The files in the order in which they are read."""
        for table in _CLOCKS_FIRST:
            yield table, self.paths.get(table.name, [])


@dataclass
class FolderFound:
    """What a check has found.

    Attributes:
        files: what is known of the files, by table.
        findings: everything that is wrong.
        defects: sessions and experiments by the known defect that they show.
    """

    files: dict[str, list[LakeFile]] = field(default_factory=dict[str, list[LakeFile]])
    findings: list[Finding] = field(default_factory=list[Finding])
    defects: dict[str, set[int]] = field(default_factory=dict[str, set[int]])


@dataclass(frozen=True)
class LakeFacts:
    """What the check of every folder needs to know of the lake.

    Attributes:
        deep: read all data, not only footers and ids.
    """

    store: Store
    release: str
    project: Project
    deep: bool

    def check(self, folder: Folder) -> FolderFound:
        """Reads the tables of a folder and checks their rows."""
        check = _FolderCheck(self, folder.entries)
        for table, paths in folder.in_order:
            check.read_table(table, paths)
        return check.found


class _FolderCheck:
    """Reads the tables of a folder, and applies the rules.

    Attributes:
        found: everything so far.
    """

    def __init__(self, lake: LakeFacts, entries: Mapping[Unit, Entry]) -> None:
        self.found = FolderFound()
        self._lake = lake
        self._entries = entries
        self._recordings: dict[Unit, _Recording] = {}
        self._unreadable: set[str] = set()

    def read_table(self, table: Table, paths: Iterable[str]) -> None:
        """Reads the files of a table and checks their rows."""
        deep, files = self._lake.deep, self.found.files.setdefault(table.name, [])
        place: dict[int, str | None] = {}
        broken: dict[int, list[Finding]] = {}
        for path in paths:

            def take(unit: int, rows: pa.Table, path: str = path) -> None:
                if place.setdefault(unit, path) != path:
                    if table.unit_key is not None:
                        return  # rows of one source in two files are a finding of their own
                    place[unit] = None
                check = self._check(table, unit)
                broken.setdefault(unit, []).extend(check.take_complete(table, rows))

            file = read_file(self._lake.store, table, path, take=take if deep else None)
            files.append(file)
            self.found.findings += [replace(finding, file=path) for finding in file.findings]
            if not file.checked:
                self._unreadable.add(table.name)
        for (subject, unit), entry in self._entries.items():
            empty = subject is table.subject and entry.row_counts.get(table.name) == 0
            if empty and deep:
                broken.setdefault(unit, [])
        for unit, findings in broken.items():
            check = self._check(table, unit)
            if table.name in self._unreadable:
                check.drop(table)
            else:
                findings += check.finish(table)
        self.found.findings += self._merged(table, broken, place)

    def _check(self, table: Table, unit: int) -> RecordingCheck:
        return self._recording((table.subject, unit)).check

    def _recording(self, key: Unit) -> _Recording:
        if key not in self._recordings:
            entry, session = self._entries.get(key), None
            if entry is not None and key[0] is Subject.OPHYS:
                session = self._recording((Subject.BEHAVIOR, entry.behavior_session_id))
            self._recordings[key] = _Recording(self._lake, key[1], entry, self._unreadable, session)
        return self._recordings[key]

    def _merged(
        self, table: Table, broken: dict[int, list[Finding]], place: dict[int, str | None]
    ) -> Iterator[Finding]:
        """The findings with file and unit; those that differ only in the unit become one."""
        same: dict[Finding, list[str]] = {}
        for unit, findings in broken.items():
            for finding in findings:
                if finding.defect is not None:
                    self.found.defects.setdefault(finding.defect, set()).add(unit)
                    continue
                found = finding.found or ""
                if table.unit_key not in (None, finding.column):
                    found = f"{found} of {table.unit_key} {unit}"
                allowed = self._entries.get((table.subject, unit))
                if allowed and allowed.allows(table.name, finding.rule.value):
                    finding = replace(finding, level=Level.WARNING, hint="--allow permitted it.")
                key = replace(finding, found=None, file=place.get(unit))
                same.setdefault(key, []).append(found)
        for finding, found in same.items():
            yield replace(finding, found=some(found, "; "))


class _Recording:
    """What the lake holds of one session or experiment."""

    def __init__(
        self,
        lake: LakeFacts,
        unit: int,
        entry: Entry | None,
        unreadable: set[str],
        session: _Recording | None,
    ) -> None:
        self.release = lake.release
        # A circle would stay in memory with the rows' keys until Python looks for garbage.
        self.check = RecordingCheck(proxy(self))
        self._unit = unit
        self._entry = entry
        self._counts = entry.row_counts if entry else {}
        self._project = lake.project
        self._unreadable = unreadable
        self._session = session

    def keys(self, table: Table) -> NDArray | None:
        """None where the table was not ingested: the worker compared the rows with the file."""
        if self._session is not None and table.subject is Subject.BEHAVIOR:
            return self._session.keys_for_planes(table)
        if table.name in self._unreadable or table.name not in self._counts:
            return None
        rows = self.check.rows_of(table.name)
        return rows.values(table.own_key[0]) if rows else np.empty(0, np.int64)

    def keys_for_planes(self, table: Table) -> NDArray | None:
        """The same, but none where the table is held back: so must be what planes have of it."""
        held_back = (
            self._entry is not None and self._entry.outcome(table.name) is TableStatus.HELD_BACK
        )
        return np.empty(0, np.int64) if held_back else self.keys(table)

    def frames(self, clock: Clock) -> Frames:
        times = None if clock.value in self._unreadable else self.check.rows_of(clock.value)
        traces = self.check.rows_of("dff_traces") if clock is Clock.OPHYS else None
        lengths = {n for extent in traces.extents.values() for n in extent} if traces else set()
        return Frames(times.frames if times else None, lengths.pop() if len(lengths) == 1 else None)

    def images(self, image_set: str) -> Collection[str] | None:
        """None where the session's images were not ingested: other sessions may lack some."""
        if "stimulus_templates" not in self._counts:
            return None
        return self._project.images_of(image_set)

    def unlisted(self, table: Table, key: ForeignKey, values: NDArray) -> NDArray:
        listed = self._project.listed(key, self._unit)
        if listed is None:
            return values[:0]
        return np.array([value for value in values.tolist() if value not in listed], values.dtype)

    def shows(self, evidence: Evidence) -> bool:
        """False: tables that were not ingested show nothing."""
        return False


_IDS = {
    "behavior_sessions": ("mouse_id",),
    "ophys_sessions": ("mouse_id",),
    "ophys_experiments": ("mouse_id", "behavior_session_id", "ophys_session_id"),
}
"""The ids that each project table gives beside its own."""


class Project:
    """What the project tables and image sets of the lake list.

    Attributes:
        ids_of: the ids of each session and experiment, its mouse included, by the name of its id.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, set[int] | None] = {}
        self._cells: dict[int, set[int]] = {}
        self._images: dict[str, set[str] | None] = {}
        self.ids_of: dict[str, dict[int, dict[str, int]]] = {}
        for name, ids in _IDS.items():
            (key,) = TABLES[name].primary_key
            columns = self._columns(name, key, *ids)
            self._keys[name] = None if columns is None else set(columns[0])
            rows = zip(*(columns or []), strict=True)
            self.ids_of[key] = {row[0]: dict(zip((key, *ids), row, strict=True)) for row in rows}
        columns = self._columns("ophys_cells", "ophys_experiment_id", "cell_roi_id")
        self._keys["ophys_cells"] = None if columns is None else set(columns[1])
        for experiment, cell in zip(*(columns or ([], [])), strict=True):
            self._cells.setdefault(experiment, set()).add(cell)

    def _columns(self, name: str, *columns: str) -> list[list[int]] | None:
        """Columns of a table; None if it cannot be read, which is a finding of its own."""
        try:
            files = [self._store.parquet(path) for path in self._store.files(name)]
            rows = [row for f in files if f for row in f.read([*columns]).to_pylist()]
            return [[int(row[column]) for row in rows] for column in columns]
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
            return None

    def images_of(self, image_set: str) -> set[str] | None:
        """The names of a set's images; None if they cannot be read, which is another finding."""
        if image_set not in self._images:
            path = relative_path(TABLES["stimulus_templates"], image_set=image_set)
            try:
                file = self._store.parquet(path)
                names = file.read(["image_name"]).column("image_name").to_pylist() if file else []
                self._images[image_set] = set(names)
            except (OSError, pa.ArrowException, KeyError):
                self._images[image_set] = None
        return self._images[image_set]

    def listed(self, key: ForeignKey, unit: int) -> set[int] | None:
        """The keys that rows of a unit may refer to; None if the table cannot be read."""
        listed = self._keys[key.table]
        return self._cells.get(unit, set()) if key.agree and listed is not None else listed
