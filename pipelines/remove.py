"""Takes files out of a lake: their rows, and their entries in the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipelines.lake import generations
from pipelines.lake.ledger import Entry, Ledger, Status, TableOutcome, TableStatus, read_ledger
from pipelines.lake.marker import require_lake
from pipelines.lake.store import Store
from pipelines.next_generation import begin, complete
from pipelines.release.selection import FileKind, Selection
from schemas import TABLES, Subject
from schemas.errors import UsageError

STAYS = (
    "removed, except for the behaviour of its session, which other planes in the lake have from it"
)
"""Warning in the ledger of a plane of which only the behaviour of its session is left."""


@dataclass(frozen=True)
class Removal:
    """What is taken out of a lake.

    Attributes:
        gone: entries of files that go.
        behavior_stays: entries of planes whose own rows go, as they are afterwards: other planes of
            the session need the behaviour that was read from their files.
        ledger: the lake's ledger afterwards.
    """

    gone: tuple[Entry, ...]
    behavior_stays: tuple[Entry, ...]
    ledger: Ledger

    @property
    def mice(self) -> list[int]:
        """Mice that lose rows, ascending."""
        return sorted({entry.mouse_id for entry in (*self.gone, *self.behavior_stays)})


def plan_removal(store: Store, selection: Selection) -> Removal:
    """Finds the files that an id of a selection names.

    A behaviour session stands for all files with its data, also those of its planes.

    Raises:
        UsageError: no id is given, or the lake has no file of one.
        LakeError: there is no lake, or its ledger cannot be read.
    """
    require_lake(store)
    ledger = read_ledger(store)
    asked = {
        ("mouse_id", "mouse"): selection.mice,
        ("behavior_session_id", "behaviour session"): selection.behavior_sessions,
        ("ophys_experiment_id", "experiment"): selection.experiments,
    }
    if not any(asked.values()):
        raise UsageError(
            "Nothing is selected. Give --mouse, --behavior-session or --experiment; to remove all, "
            f"delete {store.root}."
        )
    chosen: Ledger = {}
    for (column, name), ids in asked.items():
        for wanted in ids:
            found = {i: e for i, e in ledger.items() if getattr(e, column) == wanted}
            if not found:
                raise UsageError(
                    f"{store.root} has no file of {name} {wanted}. "
                    "`SELECT * FROM source_files` lists what it has."
                )
            chosen |= found
    return _removal(ledger, chosen)


def _removal(ledger: Ledger, chosen: Ledger) -> Removal:
    staying = {i: e for i, e in ledger.items() if i not in chosen}
    planes: dict[int, list[Entry]] = defaultdict(list)
    for entry in staying.values():
        if entry.file_kind is FileKind.OPHYS_EXPERIMENT and STAYS not in entry.warnings:
            planes[entry.behavior_session_id].append(entry)
    gone: list[Entry] = []
    reduced: dict[tuple[str, str, int], Entry] = {}
    touched = {entry.behavior_session_id for entry in chosen.values()}
    for identity, entry in ledger.items():
        needed = _gives_rows(entry) and bool(planes[entry.behavior_session_id])
        if identity in chosen and needed:
            reduced[identity] = _only_behavior(entry)
        elif identity in chosen:
            gone.append(entry)
        elif STAYS in entry.warnings and entry.behavior_session_id in touched and not needed:
            gone.append(entry)  # the last plane that needed it goes
    left = {entry.identity for entry in gone}
    after = {i: reduced.get(i, e) for i, e in ledger.items() if i not in left}
    return Removal(tuple(gone), tuple(reduced.values()), after)


def _gives_rows(entry: Entry) -> bool:
    """Whether a plane's file has given its session's behaviour."""
    ingested = entry.status in (Status.INGESTED, Status.PARTIAL)
    plane = entry.file_kind is FileKind.OPHYS_EXPERIMENT
    return plane and ingested and entry.gives_behavior and any(_behavior(entry.row_counts))


def _behavior(tables: Iterable[str]) -> list[str]:
    return [name for name in tables if TABLES[name].subject is Subject.BEHAVIOR]


def _only_behavior(entry: Entry) -> Entry:
    """The entry of a plane without the plane's own tables."""
    tables = tuple(
        TableOutcome(t.table, TableStatus.NOT_REQUESTED)
        if TABLES[t.table].subject is Subject.OPHYS
        else t
        for t in entry.tables
    )
    warnings = tuple(w for w in entry.warnings if w != STAYS)
    return replace(entry, tables=tables, warnings=(*warnings, STAYS))


def remove(store: Store, removal: Removal, wait_s: float = 0.0) -> None:
    """Takes files out of a lake, for readers in one moment. `roll_back` brings them back.

    Args:
        store: the lake.
        removal: from `plan_removal`.
        wait_s: how long to wait for another process that writes to the lake, seconds.

    Raises:
        LakeError: the lake has changed since, or another process is writing to it.
    """
    with generations.changing(store, wait_s):
        present = require_lake(store)
        ledger = read_ledger(store)
        gone = {entry.identity for entry in (*removal.gone, *removal.behavior_stays)}
        if ledger.keys() - gone != removal.ledger.keys() - gone or gone - ledger.keys():
            raise UsageError(f"{store.root} has changed meanwhile. Run the command again.")
        marker = replace(present, generation=present.generation + 1, previous=present.generation)
        begin(store, marker, removal.ledger.values(), None)
        complete(store, marker, removal.mice)
