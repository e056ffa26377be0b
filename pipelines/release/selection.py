"""The records of a plan: what the user selects, and one task per NWB file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from pipelines.release.manifest import ReleaseObject
from schemas import TABLES, Subject


class FileKind(StrEnum):
    """The two kinds of NWB file."""

    BEHAVIOR_SESSION = "behavior_session"
    OPHYS_EXPERIMENT = "ophys_experiment"


@cache
def tables_in(kind: FileKind, *, gives_behavior: bool) -> tuple[str, ...]:
    """The tables that are read from a file of a kind, in the order of `schemas.TABLES`."""
    subjects: set[Subject] = set()
    if kind is FileKind.OPHYS_EXPERIMENT:
        subjects.add(Subject.OPHYS)
    if gives_behavior:
        subjects |= {Subject.BEHAVIOR, Subject.STIMULUS}
    return tuple(name for name, table in TABLES.items() if table.subject in subjects)


@dataclass(frozen=True, slots=True)
class FileTask:
    """One NWB file and the tables to read from it.

    Attributes:
        file_key: behavior_session_id or ophys_experiment_id, by `kind`.
        gives_behavior: whether the session's behaviour tables come from this file.
        tables: tables of the lake, in the order of `schemas.TABLES`; never empty.
        bytes: size of the newest version of the object; None if the source's listing lacks it.
        cells: ROIs that ophys_cells lists for the experiment; None for behaviour files and in
            releases without that table.
        allowed: pairs of a table and a rule that its rows may break.
        held_back: other tables of the file that the lake holds back.
        unlisted: project tables that lack the row to which the experiment's row in
            ophys_experiments refers.
    """

    release: str
    kind: FileKind
    file_key: int
    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    gives_behavior: bool
    object: ReleaseObject
    tables: tuple[str, ...]
    bytes: int | None
    cells: tuple[int, ...] | None = None
    unlisted: tuple[str, ...] = ()
    allowed: frozenset[tuple[str, str]] = frozenset()
    held_back: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, str, int]:
        """Primary key of the file's row in the ledger."""
        return (self.release, self.kind, self.file_key)


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A selected session or experiment for which the release has no file, and the reason."""

    kind: FileKind
    file_key: int
    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    gives_behavior: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user selects: the files of all the ids together, or every file without any id.

    Attributes:
        mice, behavior_sessions, experiments: ids, which add up.
        where: SQL condition over the columns of the project tables, which each file must fulfil.
        tables: names of tables; empty for all except those that are ingested only by name.
    """

    mice: tuple[int, ...] = ()
    behavior_sessions: tuple[int, ...] = ()
    experiments: tuple[int, ...] = ()
    where: str | None = None
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks in the order of mouse, session and experiment; missing files; warnings for the user."""

    tasks: list[FileTask]
    missing: list[MissingFile]
    warnings: list[str]
