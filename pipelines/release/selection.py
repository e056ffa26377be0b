"""What the user asked for, and what it comes to: one task per NWB file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pipelines.release.manifest import ReleaseObject

if TYPE_CHECKING:
    pass


class FileKind(StrEnum):
    """The two kinds of NWB file."""

    BEHAVIOR_SESSION = "behavior_session"
    OPHYS_EXPERIMENT = "ophys_experiment"


@dataclass(frozen=True, slots=True)
class FileTask:
    """One NWB file and the tables to read from it.

    Attributes:
        file_key: behavior_session_id or ophys_experiment_id, by `kind`.
        gives_behavior: whether the session's behaviour tables come from this file.
        tables: tables of the lake, in the order of `schemas.TABLES`; never empty.
        bytes: size of the newest version of the object; None where the listing does not have it.
        cells: ROIs that ophys_cells lists for the experiment; None for behaviour files, and where the release has no such table.
        unlisted: project tables that ophys_experiments refers to for this file, but which do not have it.
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


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A selected session or experiment that the release gives no file for, and why."""

    kind: FileKind
    file_key: int
    mouse_id: int
    behavior_session_id: int
    ophys_session_id: int | None
    ophys_experiment_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked for; nothing means everything.

    Attributes:
        mice, behavior_sessions, experiments: ids. Within one kind they add up, between kinds they restrict each other.
        where: SQL boolean over the columns of the project tables, judged per file.
        tables: names of tables; empty for all that are not ingested by name only.
    """

    mice: tuple[int, ...] = ()
    behavior_sessions: tuple[int, ...] = ()
    experiments: tuple[int, ...] = ()
    where: str | None = None
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks by mouse, session and experiment; what could not be planned; and what was odd in the release's tables."""

    tasks: list[FileTask]
    missing: list[MissingFile]
    warnings: list[str]
