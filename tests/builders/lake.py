"""A hand-made lake, and ways to damage it. All rows are invented.

Mouse 101: training session 1001 (own file), session 1002 with the experiments 3001 (gives the
behaviour) and 3002. Mouse 102: session 1003 with the experiment 3003 (quarantined), training
sessions 1004 (skipped) and 1005 (nobody tried).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.catalog.build import build_catalog
from pipelines.lake.ledger import Entry, Status, TableOutcome, publish_mouse
from pipelines.lake.marker import Marker, create_lake
from pipelines.lake.store import LocalStore, Store, clear
from pipelines.lake.writer import write_table
from pipelines.release.manifest import ReleaseObject
from pipelines.release.selection import FileKind, FileTask
from schemas import TABLES, Column, Type
from schemas.casts import conform
from schemas.layout import relative_path

RELEASE = "1.1.0"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Row = dict[str, Any]

_FILLED: dict[Type, Any] = {
    Type.INT64: 0,
    Type.FLOAT64: 0.0,
    Type.FLOAT32: 0.0,
    Type.BOOL: False,
    Type.STRING: "some",
    Type.TIMESTAMP: WHEN,
    Type.LIST_FLOAT64: [0.5, float("nan")],
    Type.LIST_FLOAT32: [0.5],
    Type.LIST_INT64: [1],
    Type.LIST_UINT32: [0, 1],
    Type.LIST_UINT8: [1, 2],
    Type.LIST_STRING: ["some"],
}


def _filled(column: Column, row: Row) -> Any:
    return (
        row[column.name]
        if column.name in row
        else _FILLED[column.type]
        if column.required
        else None
    )


def write_rows(store: Store, table: str, rows: list[Row], **ids: Any) -> str:
    """Writes one file of a table. What a row does not give is NULL, or something where there must
    be something. `ids` hold for all rows; the first row gives the folders those that are left out.

    Returns:
        The file's path below the lake.
    """
    declared = TABLES[table]
    rows = [{**ids, **row} for row in rows]
    columns = {c.name: [_filled(c, row) for row in rows] for c in declared.converted}
    store.staging.mkdir(parents=True, exist_ok=True)
    staged = store.staging / "rows.parquet"
    write_table(declared, staged, [conform(declared, columns, len(rows))], release=RELEASE)
    path = relative_path(declared, **{n: rows[0][n] for n in declared.storage.partitions})
    store.publish(staged, path)
    staged.unlink()
    return path


def _project_tables(store: Store) -> None:
    ids = ("mouse_id", "behavior_session_id", "ophys_session_id")
    one = dict(zip(ids, (101, 1002, 2002), strict=True))
    two = dict(zip(ids, (102, 1003, 2003), strict=True))
    sessions = [
        {"mouse_id": 101, "behavior_session_id": 1001, "file_id": 11},
        {**one, "ophys_experiment_id": [3001, 3002]},
        {**two, "ophys_experiment_id": [3003]},
        {"mouse_id": 102, "behavior_session_id": 1004, "file_id": 14},
        {"mouse_id": 102, "behavior_session_id": 1005, "file_id": 15},
    ]
    write_rows(store, "behavior_sessions", sessions)
    write_rows(store, "ophys_sessions", [one, two])
    planes = [
        {**row, "ophys_experiment_id": e} for row, e in ((one, 3001), (one, 3002), (two, 3003))
    ]
    write_rows(store, "ophys_experiments", planes)
    pairs = ((9001, 3001), (9002, 3002))
    cells = [{"cell_roi_id": cell, "ophys_experiment_id": plane} for cell, plane in pairs]
    write_rows(store, "ophys_cells", cells)


def _behavior(store: Store) -> None:
    missed = {"miss": True, "lick_times": []}
    trials = [{"behavior_session_id": 1001, "trials_id": n, **missed} for n in range(2)]
    trials += [{"behavior_session_id": 1002, "trials_id": n, **missed} for n in range(3)]
    write_rows(store, "trials", trials, mouse_id=101)
    shown = [
        {"behavior_session_id": 1001, "stimulus_presentations_id": n, "trials_id": [None, 0, 1][n]}
        for n in range(3)
    ]
    shown += [
        {"behavior_session_id": 1002, "stimulus_presentations_id": n, "trials_id": n}
        for n in range(2)
    ]
    write_rows(store, "stimulus_presentations", shown, mouse_id=101)
    licks = [
        {"behavior_session_id": 1001, "timestamps": 1.5, "frame": 90},
        {"behavior_session_id": 1001, "timestamps": 1.6, "frame": 96},
    ]
    write_rows(store, "licks", licks, mouse_id=101)
    for session in (1001, 1002):
        samples = [
            {"behavior_session_id": session, "timestamps": n / 60, "speed": 1.0 + n}
            for n in range(4)
        ]
        write_rows(store, "running_speed", samples, mouse_id=101, behavior_session_id=session)
    images = [
        {"image_name": name, "height": 1, "width": 2, "unwarped": [1.0, 2.0]}
        for name in ("im000", "im031")
    ]
    write_rows(store, "stimulus_templates", images, image_set="images_A")


def _ophys(store: Store) -> None:
    plane = {"behavior_session_id": 1002, "ophys_session_id": 2002}
    roi = {**plane, "valid_roi": True, "field_of_view_height": 2, "field_of_view_width": 2}
    cells = [
        {**roi, "ophys_experiment_id": 3001, "cell_roi_id": 9001, "cell_specimen_id": 8001},
        {**roi, "ophys_experiment_id": 3002, "cell_roi_id": 9002},
    ]
    write_rows(store, "cell_specimens", cells, mouse_id=101)
    for cell in cells:
        ids = {"mouse_id": 101, "ophys_experiment_id": cell["ophys_experiment_id"]}
        write_rows(store, "dff_traces", [{**cell, "dff": [0.1, 0.2, 0.3, 0.4, 0.5]}], **ids)
        write_rows(
            store,
            "ophys_timestamps",
            [{**plane, **ids, "timestamps": [0.0, 0.1, 0.2, 0.3, 0.4]}],
            **ids,
        )


_SESSION_TABLES = (
    "trials",
    "stimulus_presentations",
    "licks",
    "running_speed",
    "stimulus_templates",
)
BEHAVIOR_1001 = dict(zip(_SESSION_TABLES, (2, 3, 2, 4, 0), strict=True))
BEHAVIOR_1002 = dict(zip(_SESSION_TABLES, (3, 2, 0, 4, 0), strict=True))
OPHYS = {"cell_specimens": 1, "dff_traces": 1, "ophys_timestamps": 1}


def entry(
    kind: FileKind,
    key: int,
    mouse: int,
    session: int,
    status: Status = Status.INGESTED,
    **fields: Any,
) -> Entry:
    """A row of the ledger. `row_counts` are the tables that were read."""
    if "row_counts" in fields:
        counts = fields.pop("row_counts")
        fields["tables"] = tuple(TableOutcome.read(name, rows) for name, rows in counts.items())
    ophys = kind is FileKind.OPHYS_EXPERIMENT
    return Entry(
        **{
            "mouse_id": mouse,
            "release": RELEASE,
            "file_kind": kind,
            "file_key": key,
            "behavior_session_id": session,
            "ophys_session_id": session + 1000 if ophys else None,
            "ophys_experiment_id": key if ophys else None,
            "gives_behavior": not ophys,
            "object_key": f"visual-behavior-ophys/{kind.value}_{key}.nwb",
            "version_id": "v1",
            "file_hash": "0" * 128,
            "bytes": 1000,
            "bytes_fetched": 0,
            "status": status,
            "ingested_at": WHEN,
            **fields,
        }
    )


def behavior_task(session: int, **fields: Any) -> FileTask:
    """What is to be done with the behaviour file of a training session of mouse 101."""
    return FileTask(
        **{
            "release": RELEASE,
            "kind": FileKind.BEHAVIOR_SESSION,
            "file_key": session,
            "mouse_id": 101,
            "behavior_session_id": session,
            "ophys_session_id": None,
            "ophys_experiment_id": None,
            "gives_behavior": True,
            "object": ReleaseObject(f"{FileKind.BEHAVIOR_SESSION.value}_{session}.nwb", "v1", None),
            "tables": ("trials",),
            "bytes": 1_500_000,
            **fields,
        }
    )


def _ledger(store: Store) -> None:
    behavior, ophys = FileKind.BEHAVIOR_SESSION, FileKind.OPHYS_EXPERIMENT
    done = [
        entry(behavior, 1001, 101, 1001, row_counts=BEHAVIOR_1001),
        entry(ophys, 3001, 101, 1002, gives_behavior=True, row_counts=BEHAVIOR_1002 | OPHYS),
        entry(ophys, 3002, 101, 1002, row_counts=OPHYS),
    ]
    publish_mouse(store, 101, done, RELEASE)
    broken = {"gives_behavior": True, "error": "table trials, column go: it is broken"}
    absent = dict.fromkeys(("object_key", "version_id", "file_hash", "bytes")) | {
        "error": "not there"
    }
    bad = [
        entry(ophys, 3003, 102, 1003, Status.QUARANTINED, **broken),
        entry(behavior, 1004, 102, 1004, Status.SKIPPED, **absent),
    ]
    publish_mouse(store, 102, bad, RELEASE)


def build_lake(folder: Path) -> LocalStore:
    """Makes the lake described above; nothing is wrong with it."""
    store = LocalStore(folder)
    create_lake(store, Marker(RELEASE))
    _project_tables(store)
    _behavior(store)
    _ophys(store)
    _ledger(store)
    build_catalog(store, RELEASE)
    clear(store.staging)
    return store


# --- damage --------------------------------------------------------------------------------------


def rewrite(
    store: LocalStore, path: str, change: Callable[[pa.Table], pa.Table], **options: Any
) -> None:
    """Replaces a file by what a function makes of its rows; nothing is checked."""
    file = store.folder / path
    rows = change(pq.ParquetFile(file).read())
    pq.write_table(rows, file, **options)


def reordered(rows: pa.Table, positions: Iterable[int]) -> pa.Table:
    """Some rows of a table, in another order or more than once."""
    return pa.concat_tables([rows.slice(n, 1) for n in positions])


def replaced(rows: pa.Table, column: str, values: list[Any]) -> pa.Table:
    """The table with other values in a column of the same type."""
    position = rows.schema.get_field_index(column)
    field = rows.schema.field(position)
    return rows.set_column(position, field, pa.array(values, field.type))
