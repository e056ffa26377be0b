"""The lake that the examples in vblake/ read: `folder`, and `lake`, the same lake opened.

pytest is for developers only, so this file is not in the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

_PACKAGE = Path(__file__).parent / "vblake"

_CATALOG = """
CREATE TABLE _tables (table_name VARCHAR, subject VARCHAR, description VARCHAR,
    primary_key VARCHAR[], storage VARCHAR, partition_columns VARCHAR[]);
INSERT INTO _tables VALUES
    ('licks', 'behavior', 'Licks.', ['mouse_id', 'timestamps'], 'one file per mouse',
     ['mouse_id']),
    ('running_speed', 'behavior', 'Running.', [], 'one file per session',
     ['mouse_id', 'behavior_session_id']),
    ('dff_traces', 'physiology', 'dF/F.', [], 'one file per experiment', ['mouse_id']),
    ('ophys_timestamps', 'physiology', 'Clock.', [], 'one file per experiment', ['mouse_id']);
CREATE TABLE _columns (table_name VARCHAR, column_name VARCHAR, position INTEGER, type VARCHAR,
    unit VARCHAR, description VARCHAR, alias VARCHAR);
INSERT INTO _columns VALUES ('licks', 'mouse_id', 1, 'BIGINT', NULL, 'The mouse.', NULL),
    ('licks', 'behavior_session_id', 2, 'BIGINT', NULL, 'The session.', NULL),
    ('licks', 'timestamps', 3, 'DOUBLE', 's', 'Time of the lick.', NULL),
    ('licks', 'frame', 4, 'BIGINT', 'frame', 'Stimulus frame of the lick.', NULL),
    ('running_speed', 'mouse_id', 1, 'BIGINT', NULL, 'The mouse.', NULL),
    ('running_speed', 'behavior_session_id', 2, 'BIGINT', NULL, 'The session.', NULL),
    ('running_speed', 'timestamps', 3, 'DOUBLE', 's', 'Time of the sample.', NULL),
    ('running_speed', 'speed', 4, 'DOUBLE', 'cm/s', 'Running speed.', NULL);
CREATE VIEW licks AS SELECT mouse_id, behavior_session_id, timestamps, frame
    FROM read_parquet(getvariable('lake_root') || '/licks/**/*.parquet',
        hive_types = {mouse_id: BIGINT});
CREATE TABLE behavior_sessions AS FROM (VALUES (7, 70, 71), (8, 80, NULL))
    t(mouse_id, behavior_session_id, ophys_session_id);
CREATE TABLE ophys_experiments AS SELECT 7 AS mouse_id, 70 AS behavior_session_id,
    71 AS ophys_session_id, 51 AS ophys_experiment_id;
CREATE TABLE source_files AS FROM (VALUES
    (7, 70, 51, ['licks', 'running_speed', 'dff_traces', 'ophys_timestamps']),
    (8, 80, NULL, ['licks'])) t(mouse_id, behavior_session_id, ophys_experiment_id, names)
    SELECT * EXCLUDE names, true AS gives_behavior, 'ingested' AS status, NULL AS error,
    [{'table': name, 'status': 'ingested', 'rule': NULL, 'expected': NULL, 'found': NULL}
     FOR name IN names] AS tables;
CREATE TABLE _lake AS SELECT '3' AS schema_version;
"""


_PLANE = "mouse_id=7/behavior_session_id=70/ophys_session_id=71/ophys_experiment_id=51"
_FILES = {
    "licks/mouse_id=7/licks": (
        "FROM (VALUES (70::BIGINT, 0.5::DOUBLE, 30::BIGINT), (70, 1.25, 75)) "
        "t(behavior_session_id, timestamps, frame)"
    ),
    "licks/mouse_id=8/licks": (
        "SELECT 80::BIGINT AS behavior_session_id, 3.0::DOUBLE AS timestamps, 180::BIGINT AS frame"
    ),
    f"dff_traces/{_PLANE}/dff_traces": (
        "FROM (VALUES (901, 5, [0.0::DOUBLE, 0.5, 0.25]), (902, NULL, [1.0, 2.0, 3.0])) "
        "t(cell_roi_id, cell_specimen_id, dff)"
    ),
    "running_speed/mouse_id=7/behavior_session_id=70/running_speed": (
        "SELECT unnest([0.0::DOUBLE, 0.1, 0.2, 0.3, 0.4, 0.5]) AS timestamps, "
        "unnest([0.0::DOUBLE, 1.0, 2.0, 3.0, 4.0, 5.0]) AS speed"
    ),
    f"ophys_timestamps/{_PLANE}/ophys_timestamps": (
        "SELECT [10.0::DOUBLE, 10.1, 10.2] AS timestamps"
    ),
}


@pytest.fixture(scope="session")
def example_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with licks of mice 7 and 8, and the traces of experiment 51."""
    folder = tmp_path_factory.mktemp("example") / "lake"
    for name, rows in _FILES.items():
        file = folder / f"{name}.parquet"
        file.parent.mkdir(parents=True)
        duckdb.execute(f"COPY ({rows}) TO '{file}'")
    with duckdb.connect(folder / "catalog.duckdb") as connection:
        connection.execute(f"SET VARIABLE lake_root = '{folder}'")
        connection.execute(_CATALOG)
    return folder


@pytest.fixture(autouse=True)
def _names(request: pytest.FixtureRequest) -> Iterator[None]:
    if not isinstance(request.node, pytest.DoctestItem) or _PACKAGE not in request.path.parents:
        yield
        return
    import vblake

    folder: Path = request.getfixturevalue("example_lake")
    with vblake.open(folder) as lake:
        names = {"vblake": vblake, "np": np, "folder": folder, "lake": lake}
        request.getfixturevalue("doctest_namespace").update(names)
        yield
