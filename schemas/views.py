"""The views of the catalog beside those of the tables themselves, declared with their columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from schemas import TABLES
from schemas.model import Column, ForeignKey, Subject, Table, Type, column
from schemas.tables.responses import TIME_BASE_LENGTH

STORAGE = "view"
"""What `_tables` says of a view instead of how a table's files are laid out."""


@dataclass(frozen=True, slots=True)
class View:
    """A view that the catalog computes from tables.

    Attributes:
        columns: in order, as `query` returns them.
        primary_key: columns that together are unique; empty if there are none.
        query: a SELECT over the views of the tables.
    """

    name: str
    description: str
    subject: Subject
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    query: str

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        """Those of tables whose columns the view has; none of the ledger, which declares none."""
        if self.subject is Subject.LEDGER:
            return ()
        names = {c.name for c in self.columns if not c.type.is_list}
        keys = {
            (key.columns, key.table): ForeignKey(key.columns, key.table, key.references)
            for table in TABLES.values()
            for key in table.foreign_keys
            if names.issuperset(key.columns)
        }
        return tuple(keys.values())


_LISTS = {
    "dff_traces": ("dff",),
    "corrected_fluorescence_traces": ("corrected_fluorescence",),
    "events": ("events", "filtered_events"),
    "demixed_traces": ("demixed_trace",),
    "neuropil_traces": ("neuropil_trace",),
    "ophys_timestamps": ("timestamps",),
    "stimulus_timestamps": ("timestamps",),
}
"""The lists of float64 of the tables that have a long view, with one row per item of the lists."""


def _ids(table: Table) -> tuple[Column, ...]:
    return tuple(c for c in table if c.name.endswith("_id") and not c.type.is_list)


def _names(columns: tuple[Column, ...], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{c.name}"' for c in columns)


def _long_view(table: Table, lists: tuple[str, ...]) -> View:
    ids = _ids(table)
    length = f"len(t.{lists[0]})"
    frame = column(
        "frame", Type.INT64, "Frame of the clock, counted from 0.", "frame", required=True
    )
    items = tuple(replace(table[name], type=Type.FLOAT64) for name in lists)
    columns = (*ids, frame, *items)
    selected = [_names(ids, "t."), f"unnest(range({length})) AS frame"]
    source = table.name + " t"
    if "timestamps" not in lists:
        clock = TABLES["ophys_timestamps"]
        columns = (*ids, frame, replace(clock["timestamps"], type=Type.FLOAT64), *items)
        # All ids, so that a filter on any of them skips files of both tables.
        source += f" JOIN {clock.name} c USING ({_names(_ids(clock))})"
        selected.append(f"unnest(c.timestamps[1:{length}]) AS timestamps")
    selected += [f"unnest(t.{name}) AS {name}" for name in lists]
    return View(
        name=f"{table.name}_long",
        description=f"{table.description} Long form: one row per item of the lists of "
        f"{table.name}.",
        subject=table.subject,
        columns=columns,
        primary_key=(*table.primary_key, "frame"),
        query=f"SELECT {', '.join(selected)} FROM {source}",
    )


def _mean_traces() -> View:
    table = TABLES["mean_responses"]
    of_condition = (
        *("condition_set", "condition", "image_name", "is_change", "omitted", "engaged"),
        *("outcome", "n"),
    )
    kept = (*_ids(table), *(table[name] for name in of_condition))
    time = column(
        "time", Type.FLOAT64, "Time from the start of the presentations.", "s", required=True
    )
    traces = [replace(c, type=Type.FLOAT32) for c in table if c.type.is_list]
    columns = ", ".join(f"unnest({c.name}) AS {c.name}" for c in traces)
    return View(
        name="mean_responses_long",
        description=f"{table.description} Long form: one row per item of the mean traces.",
        subject=table.subject,
        columns=(*kept, time, *traces),
        primary_key=(*table.primary_key, "time"),
        query=f"SELECT {_names(kept)}, -1 + unnest(range({TIME_BASE_LENGTH})) / 30 AS time, "
        f"{columns} FROM {table.name}",
    )


def _cell_pixels() -> View:
    table = TABLES["cell_specimens"]
    ids = _ids(table)
    return View(
        name="cell_pixels_long",
        description="Pixels of the valid ROIs. Long form: one row per pixel of roi_mask in "
        "cell_specimens.",
        subject=table.subject,
        columns=(
            *ids,
            column("y", Type.INT64, "Row of the pixel, counted from 0.", "px", required=True),
            column("x", Type.INT64, "Column of the pixel, counted from 0.", "px", required=True),
        ),
        primary_key=(*table.primary_key, "y", "x"),
        query=f"SELECT {_names(ids)}, CAST(pixel // field_of_view_width AS BIGINT) AS y, "
        "CAST(pixel % field_of_view_width AS BIGINT) AS x "
        "FROM (SELECT *, unnest(roi_mask) AS pixel FROM cell_specimens)",
    )


_NOT_OF_CELLS = {"file_id", "file_path", "published_at"}
"""Columns of the project tables that say nothing about a cell."""


def _cells() -> View:
    """Cells with the columns of their experiment, then of their session, each name once."""
    joined = {
        "c": TABLES["cell_specimens"],
        "e": TABLES["ophys_experiments"],
        "s": TABLES["behavior_sessions"],
    }
    found: dict[str, tuple[str, Column]] = {}
    for alias, table in joined.items():
        for declared in table:
            if declared.name not in _NOT_OF_CELLS:
                found.setdefault(declared.name, (alias, declared))
    columns = ", ".join(f'{alias}."{name}"' for name, (alias, _) in found.items())
    return View(
        name="cells",
        description="Valid ROIs of the experiments in the lake, each with the columns of its "
        "experiment and session.",
        subject=Subject.OPHYS,
        columns=tuple(declared for _, declared in found.values()),
        primary_key=TABLES["cell_specimens"].primary_key,
        query=f"SELECT {columns} FROM cell_specimens c "
        "JOIN ophys_experiments e ON e.ophys_experiment_id = c.ophys_experiment_id "
        "JOIN behavior_sessions s ON s.behavior_session_id = c.behavior_session_id",
    )


_CELLS = _cells()
_OF_A_MATCHED_CELL = ("ophys_container_id", "cre_line", "targeted_structure")


def _matched_cells() -> View:
    """One row per cell: a cell keeps its field of view, and with it what any_value takes."""
    cells = {c.name: c for c in _CELLS}
    same = ", ".join(f"any_value({name}) AS {name}" for name in _OF_A_MATCHED_CELL)
    ordered = "ORDER BY date_of_acquisition, ophys_experiment_id"
    lists = {
        "ophys_experiment_ids": ("ophys_experiment_id", Type.LIST_INT64, "Its experiments"),
        "cell_roi_ids": ("cell_roi_id", Type.LIST_INT64, "Its ROI in each of these experiments"),
        "session_types": ("session_type", Type.LIST_STRING, "Stage of the task of each"),
        "experience_levels": ("experience_level", Type.LIST_STRING, "Experience in each"),
    }
    collected = ", ".join(f"list({of} {ordered}) AS {name}" for name, (of, _, _) in lists.items())
    return View(
        name="matched_cells",
        description="Cells that were matched across experiments: one row per cell that has two or "
        "more in the lake, with lists in order of acquisition.",
        subject=Subject.OPHYS,
        columns=(
            cells["mouse_id"],
            column("cell_specimen_id", Type.INT64, "The matched cell.", required=True),
            *(cells[name] for name in _OF_A_MATCHED_CELL),
            column(
                "experiment_count",
                Type.INT64,
                "Experiments in the lake that have the cell.",
                required=True,
            ),
            *(
                column(name, type_, f"{text}, in order of acquisition.", required=True)
                for name, (_, type_, text) in lists.items()
            ),
        ),
        primary_key=("cell_specimen_id",),
        query=f"SELECT mouse_id, cell_specimen_id, {same}, count(*) AS experiment_count, "
        f"{collected} FROM cells WHERE cell_specimen_id IS NOT NULL "
        "GROUP BY mouse_id, cell_specimen_id HAVING count(*) > 1",
    )


def _annotated_presentations() -> View:
    """What both tables call `rewarded` is here that of the annotations."""
    shown, notes = TABLES["stimulus_presentations"], TABLES["presentation_annotations"]
    names = {c.name for c in notes} - set(notes.primary_key) - {"mouse_id"}
    of_shown = tuple(c for c in shown if c.name not in names)
    of_notes = tuple(replace(c, required=False) for c in notes if c.name in names)
    return View(
        name="annotated_presentations",
        description="Presentations with their annotations, which are NULL outside of the task and "
        "where they are not in the lake.",
        subject=Subject.BEHAVIOR,
        columns=(*of_shown, *of_notes),
        primary_key=shown.primary_key,
        query=f"SELECT {_names(of_shown, 'p.')}, {_names(of_notes, 'a.')} "
        "FROM stimulus_presentations p LEFT JOIN presentation_annotations a "
        "USING (mouse_id, behavior_session_id, stimulus_presentations_id)",
    )


_JOINED_ON = (
    "mouse_id",
    "behavior_session_id",
    "ophys_session_id",
    "ophys_experiment_id",
    "cell_roi_id",
    "trials_id",
    "stimulus_presentations_id",
)


def joined_on(left: Table | View, right: Table | View) -> tuple[str, ...]:
    """The columns on which two tables join: the ids that both have, however many tables have them.

    Named in USING, none of them is ambiguous in the result, and a filter skips files of both.
    An id that may be NULL in both is not among them, since its rows would drop out.

    >>> joined_on(TABLES["dff_traces"], TABLES["ophys_experiments"])
    ('mouse_id', 'behavior_session_id', 'ophys_session_id', 'ophys_experiment_id')
    """
    ours, theirs = (
        {c.name: c for c in table if c.name in _JOINED_ON and not c.type.is_list}
        for table in (left, right)
    )
    return tuple(
        name
        for name in _JOINED_ON
        if name in ours and name in theirs and (ours[name].required or theirs[name].required)
    )


_FILE = (
    "release",
    "file_kind",
    "file_key",
    "object_key",
    "mouse_id",
    "behavior_session_id",
    "ophys_session_id",
    "ophys_experiment_id",
)
_OUTCOME = (
    column("table", Type.STRING, "Table of the lake that lacks the rows."),
    column("status", Type.STRING, "held_back."),
    column("rule", Type.STRING, "The rule that the rows break; see `vblake rules`."),
    column("column", Type.STRING, "Column of the table, or path in the NWB file."),
    column("expected", Type.STRING, "What the rule asks for."),
    column("found", Type.STRING, "What the file has instead."),
    column("rows", Type.INT64, "Rows of the table that the lake holds from the file."),
)


def _held_back() -> View:
    ledger = TABLES["source_files"]
    of_file = tuple(ledger[name] for name in _FILE)
    return View(
        name="_held_back",
        description="Each table of each NWB file whose rows are not in the lake, and the reason.",
        subject=Subject.LEDGER,
        columns=(*of_file, *_OUTCOME),
        primary_key=("release", "file_kind", "file_key", "table"),
        query=f"SELECT {_names(of_file)}, {_names(_OUTCOME, 't.')} "
        "FROM (SELECT *, unnest(tables) AS t FROM source_files) WHERE t.status = 'held_back'",
    )


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        _CELLS,
        _matched_cells(),
        _annotated_presentations(),
        *(_long_view(TABLES[name], lists) for name, lists in _LISTS.items()),
        _mean_traces(),
        _cell_pixels(),
        _held_back(),
    )
}
