"""What has no rows because nobody ingested it is said, and not returned as an answer."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import vblake


@pytest.fixture
def lake(good: Path) -> vblake.Lake:
    return vblake.open(good)


def _not_ingested(lake: vblake.Lake, table: str, whose: str = "", option: str = "") -> str:
    ingest = f"vblake ingest --lake {lake.root} {option}--tables {table}"
    return f"{lake.root} has no {table}{whose}: it was not ingested. Use `{ingest}`."


def test_a_scan_of_a_table_that_was_never_ingested(lake: vblake.Lake) -> None:
    with pytest.raises(LookupError) as raised:
        lake.scan("neuropil_traces")
    assert str(raised.value) == _not_ingested(lake, "neuropil_traces")


@pytest.mark.parametrize(
    ("table", "ids", "whose", "option"),
    [
        (
            "eye_tracking",
            {"behavior_session_id": [1001, 1002]},
            "behavior_session_id 1001, 1002",
            "--behavior-session 1001 --behavior-session 1002 ",
        ),
        # Its file is quarantined; the mouse's file of trials has another session.
        ("trials", {"behavior_session_id": 1003}, "behavior_session_id 1003", None),
        ("events", {"ophys_session_id": 2002}, "ophys_session_id 2002", "--behavior-session 1002 "),
    ],
)
def test_a_scan_of_ids_that_were_not_ingested(
    lake: vblake.Lake, table: str, ids: dict[str, int], whose: str, option: str | None
) -> None:
    with pytest.raises(LookupError) as raised:
        lake.scan(table, **ids)
    option = "--behavior-session 1003 " if option is None else option
    assert str(raised.value) == _not_ingested(lake, table, f" of {whose}", option)


def test_a_scan_of_ids_whose_files_have_no_rows(lake: vblake.Lake) -> None:
    assert lake.scan("licks", behavior_session_id=1002).collect().is_empty()
    # One of the two was ingested.
    assert lake.scan("trials", behavior_session_id=[1001, 1003]).collect().height > 0


def test_tables_of_a_session_that_was_not_imaged(lake: vblake.Lake) -> None:
    with pytest.raises(LookupError, match=r"no dff_traces of .* 1001: it was not imaged\.$"):
        _ = lake.session(1001).dff_traces


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT count(*) FROM neuropil_traces_long", ["neuropil_traces"]),
        (
            "WITH e AS (FROM Eye_Tracking) SELECT (SELECT count(*) FROM roi_masks) FROM e",
            ["roi_masks", "eye_tracking"],
        ),
        (
            "SELECT licks AS eye_tracking FROM presentation_annotations",
            ["presentation_annotations"],
        ),
        ("FROM trials JOIN behavior_sessions USING (behavior_session_id)", []),
        ("SELECT count(*) FROM bi.mean_traces", ["mean_responses"]),
        ("SELECT count(*) FROM bi.trials", []),
        ("DESCRIBE events", []),
        ("SUMMARIZE events", ["events"]),
        ("SELECT 1", []),
    ],
)
def test_sql_on_tables_that_were_never_ingested(
    lake: vblake.Lake, query: str, tables: list[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lake.sql(query).fetchall()
    said = {str(warning.message) for warning in caught}
    assert said == {_not_ingested(lake, table) for table in tables}
    assert all(warning.filename == __file__ for warning in caught)
