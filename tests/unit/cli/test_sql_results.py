"""`vblake sql`: results as tables, CSV, JSON and Parquet, and the statements that give them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders.cli import csv_of, output, refusal, run

from pipelines.cli.app import app

NAN_LIST = "[0.5, 'NaN'::DOUBLE] AS lick_times"


def test_a_table(lake: Path) -> None:
    query = f"SELECT trials_id, go, {NAN_LIST}, start_time AS s FROM trials LIMIT 2"
    assert output("sql", "--lake", lake, query) == (
        "╭───────────┬───────┬────────────┬─────╮\n"
        "│ trials_id │ go    │ lick_times │   s │\n"
        "├───────────┼───────┼────────────┼─────┤\n"
        "│         0 │ false │ [0.5, nan] │ 0.0 │\n"
        "│         1 │ false │ [0.5, nan] │ 0.0 │\n"
        "╰───────────┴───────┴────────────┴─────╯\n"
        "2 rows\n"
    )


def test_long_lists_and_texts_are_cut(lake: Path) -> None:
    query = "SELECT dff, repeat('x', 70) AS t, NULL AS n, chr(27) || '[31m' AS c FROM dff_traces"
    text = output("sql", "--lake", lake, f"{query} LIMIT 1")
    assert text.splitlines()[3] == f"│ 5 items: [0.1, 0.2, 0.3, … │ {'x' * 59}… │ NULL │ ·[31m │"


def test_a_note_says_how_many_rows_there_are(lake: Path) -> None:
    text = output("sql", "--lake", lake, "--rows", "2", "SELECT * FROM running_speed")
    assert len(text.splitlines()) == 4 + 2 + 1
    note = "8 rows; the first 2 are shown (--rows N shows more, --format csv all)"
    assert text.splitlines()[-1] == note


def test_a_note_says_what_does_not_fit(
    lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A terminal, as far as the program can tell: CliRunner would replace stdout.
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    query = "SELECT 1 AS first_of_three, 'y' AS second_of_three, 3 AS third"
    app(["sql", "--lake", str(lake), query], standalone_mode=False)
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert all(len(line) <= 40 for line in lines[:-1])
    assert lines[1] == "│ first_of_three │ second_of_three │"
    assert lines[-1] == "1 row; 1 of 3 columns do not fit (name those you want, or --format csv)"


def test_csv(lake: Path) -> None:
    query = f"SELECT trials_id, start_time, NULL AS n, 'a,\"b' AS t, {NAN_LIST} FROM trials LIMIT 1"
    text = output("sql", "--lake", lake, "--format", "csv", query)
    assert text == 'trials_id,start_time,n,t,lick_times\n0,0.0,,"a,""b","[0.5, nan]"\n'


def test_json(lake: Path) -> None:
    query = f"SELECT trials_id AS \"the id\", {NAN_LIST}, NULL AS n, 'é' AS t, [{{'a': 'NaN'::DOUBLE}}] AS deep FROM trials LIMIT 2"
    text = output("sql", "--lake", lake, "--format", "json", query)
    assert text == (
        '[\n{"the id":0,"lick_times":[0.5,null],"n":null,"t":"é","deep":[{"a":null}]},\n'
        '{"the id":1,"lick_times":[0.5,null],"n":null,"t":"é","deep":[{"a":null}]}\n]\n'
    )
    nothing = "SELECT 1 AS one WHERE false"
    assert output("sql", "--lake", lake, "--format", "json", nothing) == "[]\n"


def test_parquet(lake: Path, tmp_path: Path) -> None:
    file = tmp_path / "it's.parquet"
    query = "SELECT * FROM trials WHERE behavior_session_id = 1002"
    result = run("sql", "--lake", lake, "--output", file, query)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"3 rows in {file}\n")
    rows = pq.ParquetFile(file).read()
    assert rows.column_names[:3] == ["mouse_id", "behavior_session_id", "trials_id"]
    assert rows.column("trials_id").to_pylist() == [0, 1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["it's.parquet", "lake"]


def test_the_ending_of_the_output_says_the_format(lake: Path, tmp_path: Path) -> None:
    for name, content in {"a.csv": "one\n1\n", "a.json": '[\n{"one":1}\n]\n'}.items():
        assert run("sql", "--lake", lake, "-o", tmp_path / name, "SELECT 1 AS one").exit_code == 0
        assert (tmp_path / name).read_text() == content


def test_a_failed_query_leaves_the_output_as_it_was(lake: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("before")
    assert run("sql", "--lake", lake, "-o", file, "SELECT error('late') FROM trials").exit_code == 2
    assert file.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "lake"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--format", "parquet"], "--format parquet needs a file to write to. Give --output FILE."),
        (
            ["-o", "a.xlsx"],
            "a.xlsx does not end in .csv, .json, .parquet. Choose the format with --format.",
        ),
        (
            ["-o", "a.csv", "--format", "table"],
            "--output writes csv, json, parquet, not a table. Choose one with --format.",
        ),
    ],
)
def test_formats_that_cannot_be(lake: Path, args: list[str], message: str) -> None:
    assert refusal("sql", "--lake", lake, *args, "SELECT 1") == f"error: {message}"


def test_an_output_in_a_folder_that_is_not_there(lake: Path, tmp_path: Path) -> None:
    file = tmp_path / "no" / "a.csv"
    assert refusal("sql", "--lake", lake, "-o", file, "SELECT 1") == (
        f"error: {file} cannot be written (No such file or directory). Give another --output."
    )


def test_columns_of_one_name_are_numbered(lake: Path) -> None:
    query = "SELECT 1 AS a, 2 AS A"
    assert csv_of("--lake", lake, query) == [["a", "A_1"], ["1", "2"]]
    found = output("sql", "--lake", lake, "--format", "json", query)
    assert json.loads(found) == [{"a": 1, "A_1": 2}]


def test_sql_from_stdin(lake: Path) -> None:
    arguments = ("sql", "--lake", lake, "--format", "csv", "-")
    assert output(*arguments, stdin="SELECT 1 AS one; -- done;\n") == "one\n1\n"


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("WITH t AS (SELECT * FROM trials ORDER BY trials_id DESC) SELECT trials_id FROM t", ["2"]),
        ("SELECT trials_id FROM trials ORDER BY trials_id DESC /* ; */ ;;", ["2"]),
        ("DESCRIBE rewards", ["mouse_id", "BIGINT", "YES", "", "", ""]),
        ("SHOW TABLES", ["_columns"]),
        ("SELECT count(*) FROM (SUMMARIZE licks)", ["4"]),
        ("PIVOT licks ON frame IN (90, 96) USING count(*) GROUP BY mouse_id", ["101", "1", "1"]),
        ("SELECT frame, dff FROM dff_traces_long ORDER BY ALL", ["0", "0.1"]),
    ],
)
def test_statements_that_read(lake: Path, statement: str, first: list[str]) -> None:
    assert csv_of("--lake", lake, statement)[1] == first


@pytest.mark.parametrize(
    ("statement", "kind", "part"),
    [
        ("EXPLAIN SELECT * FROM trials", "EXPLAIN", "READ_PARQUET"),
        ("\nexplain analyze (SELECT avg(trials_id) FROM trials);", "EXPLAIN ANALYZE", "Total Time"),
    ],
)
def test_a_plan(lake: Path, statement: str, kind: str, part: str) -> None:
    assert part in output("sql", "--lake", lake, statement)
    assert refusal("sql", "--lake", lake, "--format", "csv", statement) == (
        f"error: {kind} returns a plan to read, not rows for csv. Leave out --format and --output."
    )


def test_a_table_that_was_never_ingested_is_named(lake: Path) -> None:
    query = "SELECT count(*) AS n FROM neuropil_traces_long"
    done = run("sql", "--lake", lake, "--format", "csv", query)
    assert (done.exit_code, done.stdout) == (0, "n\n0\n")
    assert " ".join(done.stderr.split()) == (
        f"note: {lake} has no neuropil_traces: it was not ingested. "
        f"Use `vblake ingest --lake {lake} --tables neuropil_traces`."
    )
