"""Compares the files of a lake with its ledger: places of files, and rows per source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from pipelines.check.finding import Finding, Level, some
from pipelines.check.lake_file import LakeFile
from pipelines.lake.ledger import Entry, Ledger
from pipelines.lake.store import Store
from schemas import Storage, Subject, Table
from schemas.checks import Rule
from schemas.layout import relative_path


def noun(table: Table) -> str:
    """What one source of a table's rows is called in messages."""
    return "experiment" if table.unit_key == "ophys_experiment_id" else "behaviour session"


class LedgerCheck:
    """Judges where the files of a lake are and how many rows they hold.

    Args:
        store: the lake.
        ledger: its ledger, None if it cannot be read.
        files: by table, after they were read.
    """

    def __init__(
        self, store: Store, ledger: Ledger | None, files: Mapping[str, list[LakeFile]]
    ) -> None:
        self._store = store
        self._files = files
        self._ledger = ledger
        self._entries: dict[Subject, dict[int, Entry]] = {Subject.OPHYS: {}, Subject.BEHAVIOR: {}}
        for entry in (ledger or {}).values():
            if entry.ophys_experiment_id is not None:
                self._entries[Subject.OPHYS][entry.ophys_experiment_id] = entry
            if entry.gives_behavior:
                self._entries[Subject.BEHAVIOR][entry.behavior_session_id] = entry
        self._mouse_of = {
            Subject.BEHAVIOR: self._mice("behavior_sessions", "behavior_session_id"),
            Subject.OPHYS: self._mice("ophys_experiments", "ophys_experiment_id"),
        }

    def findings(self, table: Table) -> Iterator[Finding]:
        """Everything that is wrong with the files of a table."""
        for file in self._files[table.name]:
            yield from self._misplaced(table, file)
        yield from self._split(table)
        if table.unit_key is not None and self._ledger is not None:
            yield from self._unknown(table)
            yield from self._miscounted(table)

    def _mice(self, table: str, key: str) -> dict[int, int]:
        found: dict[int, int] = {}
        for file in self._files[table]:
            opened = self._store.parquet(file.path) if file.usable else None
            if opened is not None:
                rows = opened.read([key, "mouse_id"])
                ids, mice = (rows.column(name).to_pylist() for name in (key, "mouse_id"))
                found |= cast("dict[int, int]", dict(zip(ids, mice, strict=True)))
        return found

    def _path(self, table: Table, unit: int, mouse: int | None) -> str:
        return relative_path(
            table, mouse_id=mouse, behavior_session_id=unit, ophys_experiment_id=unit
        )

    def _misplaced(self, table: Table, file: LakeFile) -> Iterator[Finding]:
        """Files that are not where their rows belong."""
        if table.storage is Storage.PROJECT and file.path != relative_path(table):
            message = "vblake does not write this file; its rows count twice"
            expected = relative_path(table)
            yield Finding(Rule.FILE_PLACE, table.name, message, None, expected, file=file.path)
        elif file.rows == 0:
            message = "the file has no rows; vblake writes no such file"
            yield Finding(Rule.FILE_PLACE, table.name, message, file=file.path, level=Level.WARNING)
        elif table.unit_key is not None:
            yield from self._misplaced_units(table, file)

    def _misplaced_units(self, table: Table, file: LakeFile) -> Iterator[Finding]:
        wrong: dict[str, list[int]] = {}
        for unit in file.units:
            mouse = self._mouse_of[table.subject].get(unit)
            if mouse is not None and (path := self._path(table, unit, mouse)) != file.path:
                wrong.setdefault(path, []).append(unit)
        for path, units in wrong.items():
            column, found, expected = None, None, path
            rows = f"rows of {noun(table)} {some(units)}"
            message = f"{rows} are in a file of another name"
            if path.split("/")[1] != file.path.split("/")[1]:
                message = f"{rows} are in another mouse's folder"
                column, expected, found = "mouse_id", path.split("/")[1], file.path.split("/")[1]
            yield Finding(
                Rule.FILE_PLACE, table.name, message, column, expected, found, file=file.path
            )

    def _split(self, table: Table) -> Iterator[Finding]:
        """Sources whose rows are in more than one file, so that queries count them twice."""
        seen: dict[int, str] = {}
        for file in self._files[table.name]:
            if twice := [unit for unit in file.units if unit in seen]:
                rows = f"rows of {noun(table)} {some(twice)}"
                yield Finding(
                    Rule.PRIMARY_KEY,
                    table.name,
                    f"{rows} are in two files, so their keys repeat",
                    expected="each source in one file",
                    found=f"rows in {seen[twice[0]]} too",
                    file=file.path,
                )
            seen |= dict.fromkeys(file.units, file.path)

    def _unknown(self, table: Table) -> Iterator[Finding]:
        """Rows that the ledger does not count."""
        entries = self._entries[table.subject]
        for file in self._files[table.name]:
            units = [
                u for u in file.units if u not in entries or table.name not in entries[u].row_counts
            ]
            if units:
                message = (
                    f"the ledger does not know of rows of {noun(table)} {some(units)}: "
                    "an interrupted run left them. Ingest these files again"
                )
                yield Finding(Rule.LEDGER, table.name, message, file=file.path, level=Level.WARNING)

    def _miscounted(self, table: Table) -> Iterator[Finding]:
        """Sources of which the files hold more or fewer rows than the ledger says."""
        files = {file.path: file for file in self._files[table.name]}
        held: dict[int, int] = {}
        for file in files.values():
            for unit, rows in file.units.items():
                held[unit] = held.get(unit, 0) + rows
        missing: dict[str, list[int]] = {}
        for unit, entry in self._entries[table.subject].items():
            expected, found = entry.row_counts.get(table.name), held.get(unit, 0)
            if expected is None or expected == found:
                continue
            path = self._path(table, unit, entry.mouse_id)
            if path not in files and not found:
                missing.setdefault(path, []).append(unit)
            elif path not in files or files[path].usable:
                message = (
                    f"the ledger counts another number of rows of {noun(table)} {unit}. "
                    "Ingest it again with --force"
                )
                counts = (f"{expected} rows", str(found))
                yield Finding(Rule.LEDGER, table.name, message, None, *counts, file=path)
        for path, units in missing.items():
            message = (
                "the file is missing, though the ledger counts rows of "
                f"{noun(table)} {some(units)}. Ingest again with --force"
            )
            yield Finding(Rule.LEDGER, table.name, message, file=path)
