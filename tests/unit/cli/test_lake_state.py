"""`vblake catalog`, `verify` and `status`: remaking the catalog, and what a lake holds."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from builders.cli import TRIALS, csv_of, output, refusal, run
from builders.lake import replaced, rewrite, write_rows

from pipelines.cli.app import app
from pipelines.lake.store import LocalStore
from schemas import TABLES

# --- catalog ------------------------------------------------------------------------------------


def test_catalog_is_built_from_the_files(lake: Path) -> None:
    (lake / "catalog.duckdb").unlink()
    assert output("catalog", "--lake", lake) == f"{lake}/catalog.duckdb describes release 1.1.0\n"
    assert csv_of("--lake", lake, "SELECT count(*) FROM licks")[1] == ["2"]


def test_catalog_needs_a_lake(tmp_path: Path) -> None:
    assert refusal("catalog", "--lake", tmp_path / "my lake", code=1) == (
        f"error: {tmp_path}/my lake is not a vblake lake: it has no _lake.json. "
        f"Check --lake (or VBLAKE_LAKE), or make one with `vblake ingest --lake '{tmp_path}/my lake'`."
    )


# --- verify -------------------------------------------------------------------------------------


def test_verify_a_good_lake(lake: Path) -> None:
    files = len(list(lake.rglob("*.parquet")))
    *known, verdict = output("verify", "--lake", lake).splitlines()
    assert [line.split(":")[0] for line in known] == ["known exception", "known exception"]
    assert known[1].endswith("; found behaviour session 1002")
    assert verdict == f"{lake}: {files} files read, no problems"
    assert (
        output("verify", "--lake", lake, "--quick")
        == f"{lake}: {files} files looked at, no problems\n"
    )


def test_verify_prints_a_line_per_problem_and_exits_with_1(lake: Path) -> None:
    rewrite(LocalStore(lake), TRIALS, lambda rows: replaced(rows, "trials_id", [1, 0, 0, 1, 2]))
    files = len(list(lake.rglob("*.parquet")))
    result = run("verify", "--lake", lake)
    assert (result.exit_code, result.stderr) == (1, "")
    *_, problem, verdict = result.stdout.splitlines()
    assert problem.startswith(f"error: file {TRIALS}, table trials: the rows are not in order; ")
    assert verdict == f"{lake}: {files} files read, 1 error"
    assert run("verify", "--lake", lake, "--quick").exit_code == 0


def test_verify_exits_with_0_if_it_finds_only_warnings(lake: Path) -> None:
    rows = [{"behavior_session_id": 1005, "timestamps": 0.5, "speed": 1.0}]
    ids = {"mouse_id": 102, "behavior_session_id": 1005}
    write_rows(LocalStore(lake), "running_speed", rows, **ids)
    output("catalog", "--lake", lake)
    *_, problem, verdict = output("verify", "--lake", lake).splitlines()
    assert problem.startswith("warning: file running_speed/mouse_id=102/behavior_session_id=1005/")
    assert verdict.endswith(" files read, 1 warning")


# --- status -------------------------------------------------------------------------------------


def numbers(text: str, first: str) -> list[str]:
    """Rows and files of a line, then done, held back, quarantined, skipped and missing."""
    lines = [line.split() for line in text.splitlines() if line.split()[:1] == [first]]
    held = [[rows, files] for _, rows, _, unit, files in lines_of(lines, 5) if unit.endswith("B")]
    return [*(held[0] if held else ["0", "0"]), *next((c[1:] for c in lines_of(lines, 6)), [])]


def lines_of(lines: list[list[str]], cells: int) -> list[list[str]]:
    return [line for line in lines if len(line) == cells]


def test_status(lake: Path) -> None:
    text = output("status", "--lake", lake)
    assert text.splitlines()[0] == f"release 1.1.0 in {lake}, follows latest"
    assert numbers(text, "trials") == ["5", "1", "2", "0", "1", "1", "1"]
    assert numbers(text, "dff_traces") == ["2", "2", "2", "0", "1", "0", "0"]
    assert numbers(text, "rewards")[-1] == "3", "ingested without it: missing"
    assert numbers(text, "behavior_sessions") == ["5", "1"]
    assert numbers(text, "102") == ["0", "0", "0", "0", "1", "1", "1"]
    assert numbers(text, "all")[1:] == ["17", "3", "0", "1", "1", "1"]
    assert text.splitlines()[-2:] == [
        "skipped: mouse 102: behavior_session 1004: not there",
        "quarantined: mouse 102: visual-behavior-ophys/ophys_experiment_3003.nwb: "
        "table trials, column go: it is broken",
    ]
    assert all(len(line) <= 80 for line in text.splitlines()[1:-2])


def test_status_of_a_lake_without_files_from_the_bucket(lake: Path) -> None:
    for folder in lake.iterdir():
        if folder.is_dir() and folder.name not in ("behavior_sessions", "ophys_experiments"):
            shutil.rmtree(folder)
    text = output("status", "--lake", lake)
    assert numbers(text, "trials") == ["0", "0", "0", "0", "0", "0", "5"]
    assert numbers(text, "all") == ["8", "2", "0", "0", "0", "0", "6"]


def test_status_reads_the_behaviour_of_a_session_as_planning_does(lake: Path) -> None:
    # 3003 belongs to session 1003, so session 1002 has no file to read its behaviour from.
    listed = [None, [3003, 3001], [3003], None, None]
    rewrite(
        LocalStore(lake),
        "behavior_sessions/behavior_sessions.parquet",
        lambda rows: replaced(rows, "ophys_experiment_id", listed),
    )
    shutil.rmtree(lake / "source_files")
    text = output("status", "--lake", lake)
    assert numbers(text, "trials")[2:] == ["0", "0", "0", "0", "5"], "1002 is one of them"
    assert numbers(text, "all")[2:] == ["0", "0", "0", "0", "7"]


def test_status_is_whole_on_a_narrow_terminal(
    lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    app(["status", "--lake", str(lake)], standalone_mode=False)
    text = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert "quarantined" in text
    assert "…" not in text


def test_status_counts_the_files_that_views_read(lake: Path) -> None:
    store, copy = LocalStore(lake), TRIALS.replace("trials.parquet", "copy.parquet")
    for name, table in TABLES.items():
        assert list(store.table_files(table).items()) == list(store.files(name).items())
    before = output("status", "--lake", lake)
    shutil.copyfile(lake / TRIALS, lake / copy)
    assert output("status", "--lake", lake) == before
    assert copy in store.files("trials"), "which `verify` looks at"


def test_status_as_json(lake: Path) -> None:
    (lake / "catalog.duckdb").unlink()
    found = json.loads(output("status", "--lake", lake, "--json"))
    assert (found["lake"], found["release"], found["has_catalog"]) == (str(lake), "1.1.0", False)
    size = (lake / TRIALS).stat().st_size
    held = {"table": "trials", "rows": 5, "bytes": size, "files": 1, "done": 2, "held_back": 0}
    counts = dict.fromkeys(("quarantined", "skipped", "missing"), 0)
    assert {"mouse_id": 101, **held, **counts} in found["tables_by_mouse"]
    assert {**held, **dict.fromkeys(counts, 1)} in found["tables"]
    assert found["all"]["rows"] == sum(t["rows"] for t in found["tables"])
    assert found["all"]["bytes"] == sum(p.stat().st_size for p in lake.rglob("*.parquet"))
    assert [(p["status"], p["file_key"]) for p in found["problems"]] == [
        ("skipped", 1004),
        ("quarantined", 3003),
    ]


def test_status_of_a_lake_with_a_damaged_project_table(lake: Path) -> None:
    path = "behavior_sessions/behavior_sessions.parquet"
    (lake / path).write_bytes(b"PAR1")
    message = refusal("status", "--lake", lake, code=1)
    assert message.startswith(f"error: The table behavior_sessions of {lake} cannot be read (")
    assert f"{lake}/{path}" in message
    assert message.endswith(f"). See `vblake verify --lake {lake}`.")
