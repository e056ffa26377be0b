"""The commands of `pipelines.cli` as people and programs see them: output, messages, exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import typer
from builders.bucket import Bucket
from builders.lake import replaced, rewrite, write_rows
from click.testing import Result
from typer.testing import CliRunner

from pipelines.cli.app import Commands, app, main
from pipelines.connect import _packaged_httpfs
from pipelines.ingest import IngestRequest, Prepared, prepare
from pipelines.lake.store import LocalStore
from pipelines.sample import SampleSummary
from pipelines.sources import SourceSpec
from schemas import TABLES
from schemas.errors import LakeError, UsageError

TRIALS = "trials/mouse_id=101/trials.parquet"


@pytest.fixture
def lake(good: Path, tmp_path: Path) -> Path:
    """A copy of the good lake, which is also one that was moved."""
    copy = tmp_path / "lake"
    shutil.copytree(good, copy)
    return copy


def run(*args: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], input=stdin, prog_name="vblake")


def output(*args: object, stdin: str | None = None) -> str:
    result = run(*args, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refusal(*args: object, code: int = 2) -> str:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert "Traceback" not in result.stderr
    return result.stderr.removesuffix("\n")


def csv_of(*args: object) -> list[list[str]]:
    return list(csv.reader(io.StringIO(output("sql", "--format", "csv", *args))))


# --- the application ---------------------------------------------------------------------------------------------------------


def test_version() -> None:
    from importlib.metadata import version

    assert output("--version") == f"vblake {version('vblake')}\n"


NAN_LIST = "[0.5, 'NaN'::DOUBLE] AS lick_times"
COMMANDS = ["plan", "status", "verify", "catalog", "sql", "tables", "describe", "sample"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = output(command, "--help")
    assert f"Usage: vblake {command}" in text
    assert f"  vblake {command}" in text.split("Usage:")[1].replace("Example:  ", "  ").split("\n", 1)[1]


def test_the_help_lists_the_commands_in_the_order_of_need() -> None:
    text = output("--help")
    positions = [text.index(f"│ {name} ") for name in COMMANDS if name != "sample"]
    assert positions == sorted(positions)


@pytest.mark.parametrize("args", [["nonsense"], ["sql"], ["describe", "trials", "--nonsense"], ["sample", "--out", "x", "--mice", "0"]])
def test_bad_arguments_exit_with_2(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: vblake" in result.stderr


def failing(error: BaseException) -> typer.Typer:
    application = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @application.command()
    def one() -> None:
        raise error

    @application.command()
    def two() -> None:
        pass

    return application


def interrupted_query() -> RuntimeError:
    error = RuntimeError("Query interrupted")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such mouse"), 2, "error: no such mouse\n"),
        (LakeError("no lake"), 1, "error: no lake\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (interrupted_query(), 130, "error: interrupted\n"),
        (typer.Exit(3), 3, ""),
    ],
)
def test_errors_become_messages_and_exit_codes(error: BaseException, code: int, message: str) -> None:
    result = CliRunner().invoke(failing(error), ["one"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", message)


def test_main_apologises_for_what_should_not_happen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["vblake", "one"])
    with pytest.raises(SystemExit) as caught:
        main(failing(ZeroDivisionError("oops")))
    captured = capsys.readouterr()
    assert (caught.value.code, captured.out) == (1, "")
    first, rest = captured.err.split("\n", 1)
    assert first == "error: Sorry, this should not have happened (ZeroDivisionError). Please report it with what follows."
    assert rest.startswith("Traceback (most recent call last):")
    assert rest.endswith("ZeroDivisionError: oops\n")


def test_main_gives_the_exit_code_of_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["vblake", "one"])
    with pytest.raises(SystemExit) as caught:
        main(failing(LakeError("no lake")))
    assert (caught.value.code, capsys.readouterr().err) == (1, "error: no lake\n")


@pytest.mark.parametrize(("no_color", "expected"), [("", "\x1b[31m\x1b[1merror:\x1b[0m no lake\n"), ("1", "error: no lake\n")])
def test_errors_are_red_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_color: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["vblake", "one"])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    with pytest.raises(SystemExit):
        main(failing(LakeError("no lake")))
    assert capsys.readouterr().err == expected


# --- sql: results ------------------------------------------------------------------------------------------------------------


def test_a_table(lake: Path) -> None:
    text = output("sql", "--lake", lake, f"SELECT trials_id, go, {NAN_LIST}, start_time AS s FROM trials WHERE behavior_session_id = 1001")
    assert text == (
        "╭───────────┬───────┬────────────┬──────╮\n"
        "│ trials_id │ go    │ lick_times │ s    │\n"
        "├───────────┼───────┼────────────┼──────┤\n"
        "│         0 │ false │ [0.5, nan] │  0.0 │\n"
        "│         1 │ false │ [0.5, nan] │  0.0 │\n"
        "╰───────────┴───────┴────────────┴──────╯\n"
        "2 rows\n"
    ).replace("│ s    │", "│   s │").replace("│  0.0 │", "│ 0.0 │").replace("┬──────╮", "┬─────╮").replace("┼──────┤", "┼─────┤").replace(
        "┴──────╯", "┴─────╯"
    )


def test_long_lists_and_texts_are_cut(lake: Path) -> None:
    text = output("sql", "--lake", lake, "SELECT dff, repeat('x', 70) AS t, NULL AS n, chr(27) || '[31m' AS c FROM dff_traces LIMIT 1")
    assert text.splitlines()[3] == f"│ 5 items: [0.1, 0.2, 0.3, … │ {'x' * 59}… │ NULL │ ·[31m │"


def test_a_note_says_how_many_rows_there_are(lake: Path) -> None:
    text = output("sql", "--lake", lake, "--rows", "2", "SELECT * FROM running_speed")
    assert len(text.splitlines()) == 4 + 2 + 1
    assert text.splitlines()[-1] == "8 rows; the first 2 are shown (--rows N shows more, --format csv all)"


def test_a_note_says_what_does_not_fit(lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # A terminal, as far as the program can tell: CliRunner would replace stdout.
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    app(["sql", "--lake", str(lake), "SELECT 1 AS first_of_three, 'y' AS second_of_three, 3 AS third"], standalone_mode=False)
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert all(len(line) <= 40 for line in lines[:-1])
    assert lines[1] == "│ first_of_three │ second_of_three │"
    assert lines[-1] == "1 row; 1 of 3 columns do not fit (name those you want, or --format csv)"


def test_no_rows(lake: Path) -> None:
    assert output("sql", "--lake", lake, "SELECT 1 AS one WHERE false").splitlines()[-1] == "0 rows"


def test_csv(lake: Path) -> None:
    query = f"SELECT trials_id, start_time, NULL AS n, 'a,\"b' AS t, {NAN_LIST}, date_of_acquisition FROM trials, behavior_sessions LIMIT 1"
    text = output("sql", "--lake", lake, "--format", "csv", query)
    assert text == 'trials_id,start_time,n,t,lick_times,date_of_acquisition\n0,0.0,,"a,""b","[0.5, nan]",\n'


def test_json(lake: Path) -> None:
    query = f"SELECT trials_id AS \"the id\", {NAN_LIST}, NULL AS n, 'é' AS t, [{{'a': 'NaN'::DOUBLE}}] AS deep FROM trials LIMIT 2"
    text = output("sql", "--lake", lake, "--format", "json", query)
    assert text == (
        '[\n{"the id":0,"lick_times":[0.5,null],"n":null,"t":"é","deep":[{"a":null}]},\n'
        '{"the id":1,"lick_times":[0.5,null],"n":null,"t":"é","deep":[{"a":null}]}\n]\n'
    )
    assert output("sql", "--lake", lake, "--format", "json", "SELECT 1 AS one WHERE false") == "[]\n"


def test_large_results_are_written_in_parts(lake: Path) -> None:
    query = "SELECT range AS n FROM range(25_000)"
    assert [row["n"] for row in json.loads(output("sql", "--lake", lake, "--format", "json", query))] == list(range(25_000))
    assert len(csv_of("--lake", lake, query)) == 25_001


def test_parquet(lake: Path, tmp_path: Path) -> None:
    file = tmp_path / "it's.parquet"
    result = run("sql", "--lake", lake, "--output", file, "SELECT * FROM trials WHERE behavior_session_id = 1002")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"3 rows in {file}\n")
    rows = pq.ParquetFile(file).read()
    assert rows.column_names[:3] == ["mouse_id", "behavior_session_id", "trials_id"]
    assert rows.column("trials_id").to_pylist() == [0, 1, 2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["it's.parquet", "lake"]


@pytest.mark.parametrize(("name", "content"), [("a.csv", "one\n1\n"), ("a.json", '[\n{"one":1}\n]\n')])
def test_the_ending_of_the_output_says_the_format(lake: Path, tmp_path: Path, name: str, content: str) -> None:
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
        (["-o", "a.xlsx"], "a.xlsx does not end in .csv, .json, .parquet. Say what to write with --format."),
        (["-o", "a.csv", "--format", "table"], "--output writes csv, json, parquet, not a table. Choose one with --format."),
    ],
)
def test_formats_that_cannot_be(lake: Path, args: list[str], message: str) -> None:
    assert refusal("sql", "--lake", lake, *args, "SELECT 1") == f"error: {message}"


def test_an_output_in_a_folder_that_is_not_there(lake: Path, tmp_path: Path) -> None:
    file = tmp_path / "no" / "a.csv"
    assert refusal("sql", "--lake", lake, "-o", file, "SELECT 1") == (
        f"error: {file} cannot be written: there is no folder {tmp_path}/no. Make it, or give another --output."
    )


def test_an_output_that_is_a_folder(lake: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    assert refusal("sql", "--lake", lake, "-o", tmp_path / "a.csv", "SELECT 1") == (
        f"error: {tmp_path}/a.csv cannot be written (Is a directory). Give another --output."
    )


def test_columns_of_one_name_are_numbered(lake: Path, tmp_path: Path) -> None:
    query = "SELECT 1 AS a, 2 AS A"
    assert csv_of("--lake", lake, query) == [["a", "A_1"], ["1", "2"]]
    assert json.loads(output("sql", "--lake", lake, "--format", "json", query)) == [{"a": 1, "A_1": 2}]
    assert run("sql", "--lake", lake, "-o", tmp_path / "a.parquet", query).exit_code == 0
    assert pq.ParquetFile(tmp_path / "a.parquet").read().to_pylist() == [{"a": 1, "A_1": 2}]


def test_sql_from_stdin(lake: Path) -> None:
    assert output("sql", "--lake", lake, "--format", "csv", "-", stdin="SELECT 1 AS one; -- done;\n") == "one\n1\n"


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("FROM trials SELECT count(*) AS n", ["5"]),
        ("WITH t AS (SELECT * FROM trials ORDER BY trials_id DESC) SELECT trials_id FROM t", ["2"]),
        ("SELECT trials_id FROM trials ORDER BY trials_id DESC /* ; */ ;;", ["2"]),
        ("VALUES (1, 'x')", ["1", "x"]),
        ("DESCRIBE rewards", ["mouse_id", "BIGINT", "YES", "", "", ""]),
        ("SHOW TABLES", ["_columns"]),
        ("SELECT count(*) FROM (SUMMARIZE licks)", ["4"]),
        ("SELECT min(mouse_id), max(mouse_id) FROM licks", ["101", "101"]),  # fails in DuckDB 1.5.5
        ("PIVOT licks ON frame IN (90, 96) USING count(*) GROUP BY mouse_id", ["101", "1", "1"]),
        ("SELECT end_time IS NULL, index FROM stimulus_presentations", ["true", ""]),
        ("SELECT frame, dff FROM dff_traces_long ORDER BY ALL", ["0", "0.1"]),
        ("SELECT CAST('2020-01-02 03:04:05+02' AS TIMESTAMPTZ)", ["2020-01-02 01:04:05+00"]),
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
        f"error: {kind} gives a plan to read, not rows for csv. Leave --format and --output away."
    )


# --- sql: where the lake is --------------------------------------------------------------------------------------------------


def test_a_moved_lake_from_another_folder_with_links(good: Path, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(str(lake / "catalog.duckdb"), read_only=True) as con:
        assert con.execute("SELECT root FROM _lake").fetchone() == (str(good),), "the catalog was built elsewhere"
    (tmp_path / "link").symlink_to(lake)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (lake / TRIALS).unlink()
    write_rows(LocalStore(lake), "trials", [{"behavior_session_id": 1001, "trials_id": 77}], mouse_id=101)
    for path in ("../lake", "../link", "../here/../link"):
        assert csv_of("--lake", path, "SELECT trials_id FROM trials") == [["trials_id"], ["77"]]


def test_a_folder_whose_name_looks_like_a_pattern(lake: Path, tmp_path: Path) -> None:
    odd = tmp_path / "it's [1] *odd?"
    lake.rename(odd)
    assert csv_of("--lake", odd, "SELECT mouse_id, count(*) FROM trials GROUP BY 1")[1] == ["101", "5"]
    assert output("verify", "--lake", odd).endswith("files read, no problems\n")


def test_the_lake_from_the_environment(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VBLAKE_LAKE", str(lake))
    assert csv_of("SELECT count(*) FROM licks")[1] == ["2"]


@pytest.mark.parametrize("query", ["SELECT count(*) FROM range(100_000_000_000) a, range(1000) b", "SELECT 1 FROM range(1_000_000_000)"])
def test_an_interrupted_query_ends_at_once_and_leaves_no_output(lake: Path, tmp_path: Path, query: str) -> None:
    program = "from pipelines.cli.app import main; main()"
    file = tmp_path / "out.csv"
    args = [sys.executable, "-c", program, "sql", "--lake", str(lake), "-o", str(file), query]
    with subprocess.Popen(args, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".out.csv.part").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, b"error: interrupted\n")
    assert [p.name for p in tmp_path.iterdir()] == ["lake"]


def test_no_lake(tmp_path: Path) -> None:
    assert refusal("sql", "--lake", tmp_path, "SELECT 1", code=1) == (
        f"error: {tmp_path} has no catalog.duckdb. Make it with `vblake catalog --lake {tmp_path}`."
    )


def test_a_lake_url_of_another_kind() -> None:
    assert refusal("sql", "--lake", "gs://x/y", "SELECT 1", code=1) == "error: gs://x/y: a lake is a local folder or an s3:// prefix"


def test_nothing_is_written_anywhere(lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {p: p.stat().st_mtime_ns for p in lake.rglob("*")}
    output("sql", "--lake", lake, "SELECT * FROM trials ORDER BY ALL")
    assert {p: p.stat().st_mtime_ns for p in lake.rglob("*")} == before
    assert list((tmp_path / "here").iterdir()) == []


# --- sql: hostile and mistaken -----------------------------------------------------------------------------------------------

ONLY_READS = "statement. Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; to write a result to a file, give --output."
NO_FILES = "which reads the lake through its catalog and no other file. Query a table (see `vblake tables`), or use DuckDB itself."


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("COPY trials TO '{lake}/trials/x.parquet'", "a COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/x.parquet'", "a COPY"),
        ("explain\nanalyze copy trials to '{lake}/x.csv'", "a COPY"),
        ("ATTACH '{lake}/new.duckdb' AS n", "an ATTACH"),
        ("DETACH lake", "a DETACH"),
        ("INSTALL httpfs", "a LOAD"),
        ("LOAD httpfs", "a LOAD"),
        ("CREATE TABLE t AS SELECT 1", "a CREATE"),
        ("CREATE OR REPLACE TEMP VIEW trials AS SELECT 1", "a CREATE"),
        ("CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')", "a CREATE"),
        ("DROP VIEW trials", "a DROP"),
        ("ALTER VIEW trials RENAME TO t", "an ALTER"),
        ("INSERT INTO _lake VALUES (1, 2, 3, NULL)", "an INSERT"),
        ("WITH t AS (SELECT 1) INSERT INTO _lake SELECT 1, 2, 3, NULL FROM t", "an INSERT"),
        ("UPDATE _lake SET root = ''", "an UPDATE"),
        ("DELETE FROM _lake", "a DELETE"),
        ("SET enable_external_access = true", "a SET"),
        ("RESET lock_configuration", "a SET"),
        ("SET VARIABLE lake_root = '/etc'", "a SET"),
        ("USE memory", "a SET"),
        ("PRAGMA threads = 1", "a SET"),
        ("PRAGMA enable_profiling", "a PRAGMA"),
        ("CALL enable_logging(storage = 'file', storage_path = '{lake}/log')", "a CALL"),
        ("CHECKPOINT", "a CALL"),
        ("EXPORT DATABASE '{lake}/x'", "an EXPORT"),
        ("BEGIN", "a TRANSACTION"),
        ("VACUUM", "a VACUUM"),
        ("PREPARE p AS SELECT 1", "a PREPARE"),
        ("EXECUTE p", "an EXECUTE"),
        ("MERGE INTO _lake USING _lake AS l ON true WHEN MATCHED THEN DELETE", "a MERGE INTO"),
    ],
)
def test_statements_that_do_more_than_read_are_refused(lake: Path, statement: str, kind: str) -> None:
    before = sorted(lake.rglob("*"))
    assert refusal("sql", "--lake", lake, statement.replace("{lake}", str(lake))) == (
        f"error: vblake sql only reads, and was given {kind} {ONLY_READS}"
    )
    assert sorted(lake.rglob("*")) == before


@pytest.mark.parametrize(
    "statement",
    [
        "EXPLAIN (ANALYZE, FORMAT json) COPY trials TO '{lake}/x.csv'",
        "EXPLAIN /* hm */ ANALYZE COPY trials TO '{lake}/x.csv'",
        "EXPLAIN (FORMAT json) SELECT 1",
    ],
)
def test_explain_with_options_is_refused(lake: Path, statement: str) -> None:
    assert refusal("sql", "--lake", lake, statement.replace("{lake}", str(lake))) == (
        "error: vblake sql runs EXPLAIN and EXPLAIN ANALYZE of a query, without options or comments in between."
    )
    assert not list(lake.glob("x.*"))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("read_csv('/etc/passwd')", "read_csv"),
        ("READ_CSV_AUTO('/etc/passwd')", "read_csv_auto"),
        ("main.read_text('/etc/passwd')", "read_text"),
        ("read_blob('/etc/passwd')", "read_blob"),
        ("read_json('/etc/passwd')", "read_json"),
        ("glob('/etc/*')", "glob"),
        ("glob('{lake}/../*')", "glob"),
        ("read_parquet('{lake}/trials/**/*.parquet')", "read_parquet"),
        ("parquet_metadata('/etc/passwd')", "parquet_metadata"),
        ("sniff_csv('/etc/passwd')", "sniff_csv"),
        ("read_csv('http://127.0.0.1:1/x.csv')", "read_csv"),
        ("query('FROM enable_logging()')", "query"),
        ("query_table('trials')", "query_table"),
        ("enable_logging(storage = 'file', storage_path = '{lake}/log')", "enable_logging"),
        ("duckdb_secrets()", "duckdb_secrets"),
        ("json_execute_serialized_sql('{}')", "json_execute_serialized_sql"),
    ],
)
@pytest.mark.parametrize(
    "statement",
    [
        "FROM {call}",
        "EXPLAIN ANALYZE SELECT * FROM {call}",
        "SELECT (SELECT count(*) FROM {call}) FROM trials",
        "WITH RECURSIVE t AS (SELECT 1 UNION SELECT 1 FROM {call}) SELECT * FROM trials WHERE trials_id IN (SELECT 1 FROM t)",
        "DESCRIBE SELECT * FROM {call}",
        "SUMMARIZE FROM {call}",
    ],
)
def test_functions_that_read_files_or_change_something_are_refused(lake: Path, statement: str, call: str, name: str) -> None:
    before = sorted(lake.rglob("*"))
    text = statement.replace("{call}", call.replace("{lake}", str(lake)))
    assert refusal("sql", "--lake", lake, text) == f"error: {name} cannot be used in vblake sql, {NO_FILES}"
    assert sorted(lake.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "{lake}/trials/mouse_id=101/trials.parquet", "s3://bucket/lake/../x.csv", "x/../../y.json"]
)
def test_files_in_place_of_tables_are_refused(lake: Path, name: str) -> None:
    name = name.replace("{lake}", str(lake))
    assert refusal("sql", "--lake", lake, f"SELECT * FROM '{name}'") == (
        f"error: {name!r} is a file; vblake sql reads the lake through its catalog and no other file. "
        "Query a table (see `vblake tables`), or use DuckDB itself."
    )


def test_duckdb_itself_keeps_to_the_lake(lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What stands when the checks of statements are got round.
    from pipelines.connect import connect_restricted

    (tmp_path / "secret.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    with connect_restricted(LocalStore(lake), output=tmp_path / "out.parquet") as con:
        assert con.execute("SELECT count(*) FROM trials").fetchone() == (5,)
        for statement in (
            "FROM read_csv('/etc/passwd')",
            "FROM 'secret.csv'",
            f"FROM read_csv('{lake}/../secret.csv')",
            f"FROM read_csv('{tmp_path}/secret.csv')",
            f"COPY (SELECT 1) TO '{tmp_path}/x.parquet'",
            f"ATTACH '{tmp_path}/x.duckdb'",
            "LOAD httpfs",
        ):
            with pytest.raises(duckdb.PermissionException):
                con.execute(statement)
        for statement in ("SET enable_external_access = true", "RESET allowed_directories", "SET threads = 1"):
            with pytest.raises(duckdb.InvalidInputException, match="the configuration has been locked"):
                con.execute(statement)
        with pytest.raises(duckdb.InvalidInputException, match="attached in read-only mode"):
            con.execute("DELETE FROM _lake")


def test_variables_of_the_program_are_no_tables(lake: Path) -> None:
    rows = duckdb.connect().execute("SELECT 1 AS a").arrow()
    assert rows is not None
    message = refusal("sql", "--lake", lake, "SELECT * FROM rows")
    assert message.startswith("error: Catalog Error: Table with name rows does not exist!")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("", 'There is no SQL statement to run. Give one in quotes, e.g. vblake sql "SELECT * FROM trials LIMIT 5".'),
        (" ; -- nothing", 'There is no SQL statement to run. Give one in quotes, e.g. vblake sql "SELECT * FROM trials LIMIT 5".'),
        ("SELECT 1; SELECT 2", "vblake sql runs one statement, and was given 2 (SELECT, SELECT). Run them one by one."),
        ("SELECT 1; DROP VIEW trials", "vblake sql runs one statement, and was given 2 (SELECT, DROP). Run them one by one."),
        (
            "PIVOT licks ON frame USING count(*)",
            "vblake sql runs PIVOT only with its values named: PIVOT ... ON column IN (value, ...) USING ....",
        ),
        (
            "PRAGMA table_info('trials')",
            "vblake sql cannot tell what this statement does. Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.",
        ),
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"\n\nLINE 1: SELEC 1\n        ^'),
        ("SELECT 1) TO '/x' --", "Parser Error: syntax error at or near \")\"\n\nLINE 1: SELECT 1) TO '/x' --\n                ^"),
        (
            "SELECT *\nFROM trial",
            'Catalog Error: Table with name trial does not exist!\nDid you mean "trials"?\n\nLINE 2: FROM trial\n             ^',
        ),
        (
            "SELECT mouse FROM (SELECT mouse_id FROM trials)",
            'Binder Error: Referenced column "mouse" not found in FROM clause!\n'
            'Candidate bindings: "mouse_id"\n\nLINE 1: SELECT mouse FROM (SELECT mouse_id FROM trials)\n               ^',
        ),
        (
            "SELECT CAST('x' AS INTEGER)",
            "Conversion Error: Could not convert string 'x' to INT32\n\nLINE 1: SELECT CAST('x' AS INTEGER)\n               ^",
        ),
    ],
)
def test_mistakes_are_explained(lake: Path, statement: str, message: str) -> None:
    assert refusal("sql", "--lake", lake, statement) == f"error: {message}"


def test_a_lake_file_that_does_not_open(lake: Path) -> None:
    (lake / TRIALS).write_bytes(b"nonsense" * 10)
    message = refusal("sql", "--lake", lake, "SELECT * FROM trials", code=1)
    assert message.splitlines()[0] == f"error: Invalid Input Error: No magic bytes found at end of file '{lake}/{TRIALS}'"
    assert (
        message.splitlines()[-1] == f"Where files were replaced while the query ran, run it again; else see `vblake verify --lake {lake}`."
    )


# --- tables and describe -----------------------------------------------------------------------------------------------------


def test_tables() -> None:
    lines = output("tables").splitlines()
    assert lines[1].split() == ["table", "description"]
    assert [line.split()[0] for line in lines[3:-2]] == list(TABLES)
    assert lines[-1] == "vblake describe TABLE lists the columns of a table."
    assert "Ingested by name only." in next(line for line in lines if line.startswith(" demixed_traces"))


def test_tables_as_json() -> None:
    found: list[dict[str, Any]] = json.loads(output("tables", "--json"))
    assert [t["name"] for t in found] == list(TABLES)
    assert next(t for t in found if t["name"] == "licks") == {
        "name": "licks",
        "subject": "behavior",
        "description": TABLES["licks"].description,
        "primary_key": [],
        "files": "licks/mouse_id=<M>/licks.parquet",
        "by_name_only": False,
    }


def test_describe() -> None:
    lines = output("describe", "licks").splitlines()
    assert lines[0].split(maxsplit=1) == ["table", "licks"]
    assert lines[1].split(maxsplit=1) == ["description", TABLES["licks"].description]
    start = next(n for n, line in enumerate(lines) if line.split()[:1] == ["column"])
    assert [line.split()[0] for line in lines[start + 2 : start + 6]] == [c.name for c in TABLES["licks"].columns]
    assert lines[start + 4].split()[:4] == ["timestamps", "DOUBLE", "s", "never"]


def test_describe_names_aliases() -> None:
    lines = output("describe", "stimulus_presentations").splitlines()
    position = next(n for n, line in enumerate(lines) if line.split()[:1] == ["stop_time"])
    assert lines[position + 1].split() == ["alias", "end_time"]


def test_describe_as_json() -> None:
    found = json.loads(output("describe", "licks", "--json"))
    assert found["table"] == "licks"
    assert [c["name"] for c in found["columns"]] == [c.name for c in TABLES["licks"].columns]
    assert found["columns"][2]["source"] == TABLES["licks"]["timestamps"].source


@pytest.mark.parametrize(
    ("name", "hint"),
    [("trial", "Did you mean trials?"), ("Licks", "Did you mean licks?"), ("xyzzy", "See `vblake tables`.")],
)
def test_describe_an_unknown_table(name: str, hint: str) -> None:
    assert refusal("describe", name) == f"error: There is no table {name!r}. {hint}"


# --- catalog -----------------------------------------------------------------------------------------------------------------


def test_catalog_is_built_from_the_files(lake: Path) -> None:
    (lake / "catalog.duckdb").unlink()
    assert output("catalog", "--lake", lake) == f"{lake}/catalog.duckdb describes release 1.1.0\n"
    assert csv_of("--lake", lake, "SELECT count(*) FROM licks")[1] == ["2"]


def test_catalog_needs_a_lake(tmp_path: Path) -> None:
    assert refusal("catalog", "--lake", tmp_path, code=1) == (
        f"error: {tmp_path} is not a vblake lake: it has no _lake.json. "
        f"Check --lake (or VBLAKE_LAKE), or make one with `vblake ingest --lake {tmp_path}`."
    )


# --- verify ------------------------------------------------------------------------------------------------------------------


def test_verify_a_good_lake(lake: Path) -> None:
    files = len(list(lake.rglob("*.parquet")))
    *known, verdict = output("verify", "--lake", lake).splitlines()
    assert [line.split(":")[0] for line in known] == ["known exception", "known exception"]
    assert known[1].endswith(
        "no-licks: sessions without licks; most passive sessions have none, and their files no licking module "
        "(NWB_TABLES.md 2.1, 9); found behaviour session 1002"
    )
    assert verdict == f"{lake}: {files} files read, no problems"
    assert output("verify", "--lake", lake, "--quick") == f"{lake}: {files} files looked at, no problems\n"


def test_verify_prints_a_line_per_problem_and_exits_with_1(lake: Path) -> None:
    rewrite(LocalStore(lake), TRIALS, lambda rows: replaced(rows, "trials_id", [1, 0, 0, 1, 2]))
    files = len(list(lake.rglob("*.parquet")))
    result = run("verify", "--lake", lake)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "".join(line for line in result.stdout.splitlines(keepends=True) if not line.startswith("known exception: ")) == (
        f"error: file {TRIALS}, table trials: the rows are not in order; "
        "expected sorted by behavior_session_id, trials_id; found row 1 out of place\n"
        f"{lake}: {files} files read, 1 error\n"
    )
    assert run("verify", "--lake", lake, "--quick").exit_code == 0


def test_verify_exits_with_0_where_there_are_only_warnings(lake: Path) -> None:
    plane = {"behavior_session_id": 1003, "ophys_session_id": 2003, "ophys_experiment_id": 3003, "timestamps": [0.5]}
    write_rows(LocalStore(lake), "ophys_timestamps", [plane], mouse_id=102, ophys_experiment_id=3003)
    lines = output("verify", "--lake", lake).splitlines()[2:]
    assert lines[0].startswith("warning: file ophys_timestamps/mouse_id=102/")
    assert lines[1].endswith("files read, 1 warning")


# --- status ------------------------------------------------------------------------------------------------------------------


def cells(text: str, first: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [first])


def test_status(lake: Path) -> None:
    text = output("status", "--lake", lake)
    assert text.splitlines()[0] == f"release 1.1.0 in {lake}"
    # rows, size and its unit, files, done, quarantined, skipped, missing
    assert cells(text, "trials")[1:2] + cells(text, "trials")[4:] == ["5", "1", "2", "1", "1", "1"]
    assert cells(text, "dff_traces")[1:2] + cells(text, "dff_traces")[4:] == ["2", "2", "2", "1", "0", "0"]
    assert cells(text, "rewards") == ["rewards", "0", "0", "B", "0", "0", "1", "1", "3"], "files that were ingested without it"
    assert cells(text, "behavior_sessions")[1:2] + cells(text, "behavior_sessions")[4:] == ["5", "1", "0", "0", "0", "0"]
    assert cells(text, "101")[1:2] + cells(text, "101")[4:] == ["29", "11", "3", "0", "0", "0"]
    assert cells(text, "102")[1:2] + cells(text, "102")[4:] == ["2", "1", "0", "1", "1", "1"]
    assert cells(text, "all")[4:] == ["17", "3", "1", "1", "1"]
    assert text.splitlines()[-2:] == [
        "skipped: behavior_session 1004 (mouse 102): not there",
        "quarantined: visual-behavior-ophys/ophys_experiment_3003.nwb (mouse 102): table trials, column go: it is broken",
    ]


def test_status_is_whole_on_a_narrow_terminal(lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    app(["status", "--lake", str(lake)], standalone_mode=False)
    text = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert "quarantined" in text
    assert "…" not in text


def test_status_as_json(lake: Path) -> None:
    (lake / "catalog.duckdb").unlink()
    found = json.loads(output("status", "--lake", lake, "--json"))
    assert (found["lake"], found["release"], found["has_catalog"]) == (str(lake), "1.1.0", False)
    size = (lake / TRIALS).stat().st_size
    counts = {"rows": 5, "bytes": size, "files": 1, "done": 2, "quarantined": 0, "skipped": 0, "missing": 0}
    assert {"table": "trials", "mouse_id": 101, **counts} in found["tables_by_mouse"]
    assert {"table": "trials", **counts, "quarantined": 1, "skipped": 1, "missing": 1} in found["tables"]
    assert found["all"]["rows"] == sum(t["rows"] for t in found["tables"])
    assert found["all"]["bytes"] == sum(p.stat().st_size for p in lake.rglob("*.parquet"))
    assert [(p["status"], p["kind"], p["file_key"]) for p in found["problems"]] == [
        ("skipped", "behavior_session", 1004),
        ("quarantined", "ophys_experiment", 3003),
    ]


def test_status_counts_what_verify_counts(sample_lake: Path) -> None:
    found = json.loads(output("status", "--lake", sample_lake, "--json"))
    rows = {t["table"]: t["rows"] for t in found["tables"]}
    held = {name: sum(pq.ParquetFile(f).metadata.num_rows for f in (sample_lake / name).rglob("*.parquet")) for name in TABLES}
    assert rows == held
    assert {t["missing"] for t in found["tables"]} == {0}


def test_status_says_that_there_is_no_catalog(lake: Path) -> None:
    (lake / "catalog.duckdb").unlink()
    assert output("status", "--lake", lake).splitlines()[1] == f"There is no catalog yet: vblake catalog --lake {lake}"


def test_status_of_a_lake_with_a_damaged_project_table(lake: Path) -> None:
    path = "behavior_sessions/behavior_sessions.parquet"
    (lake / path).write_bytes(b"PAR1")
    message = refusal("status", "--lake", lake, code=1)
    assert message.startswith(f"error: {lake}/{path} cannot be read (")
    assert message.endswith(f"). See `vblake verify --lake {lake}`.")


def test_status_needs_a_lake(tmp_path: Path) -> None:
    assert refusal("status", "--lake", tmp_path, code=1).startswith(f"error: {tmp_path} is not a vblake lake: ")


# --- plan --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket_folder(tmp_path: Path) -> Path:
    bucket = Bucket()
    del bucket.files[3]  # experiment 5004 of mouse 100002
    bucket.write(tmp_path / "bucket")
    return tmp_path / "bucket"


def nwb_bytes(folder: Path, *ids: int) -> int:
    return sum(file.stat().st_size for number in ids for file in folder.rglob(f"*_{number}.nwb"))


def test_plan(bucket_folder: Path, tmp_path: Path) -> None:
    text = output("plan", "--source", bucket_folder, "--lake", tmp_path / "new")
    assert text.splitlines()[0] == f"release 1.1.0 from {bucket_folder} into {tmp_path}/new"
    first, second = nwb_bytes(bucket_folder, 1001, 5001), nwb_bytes(bucket_folder, 1004, 5002, 5003)
    assert cells(text, "100001") == ["100001", "2", "2", str(first), "B", "0", "B", "0", "0"]
    assert cells(text, "100002") == ["100002", "4", "3", str(second), "B", "0", "B", "0", "1"]
    assert cells(text, "all") == ["all", "6", "5", str(first + second), "B", "0", "B", "0", "1"]
    assert not (tmp_path / "new").exists()


def test_plan_lists_the_files(bucket_folder: Path, tmp_path: Path) -> None:
    text = output("plan", "--source", bucket_folder, "--lake", tmp_path / "new", "--list", "--mouse", "100002", "--experiment", "5004")
    line = text.splitlines()[-2].split(maxsplit=4)
    assert line[:4] == ["100002", "ophys_experiment", "5004", "missing"]
    assert "file_id 3" in line[4]
    text = output(
        "plan", "--source", bucket_folder, "--lake", tmp_path / "new", "--list", "--behavior-session", "1001", "--tables", "trials"
    )
    key = "visual-behavior-ophys/behavior_sessions/behavior_session_1001.nwb"
    assert text.splitlines()[-2].split() == [
        "100001",
        "behavior_session",
        "1001",
        "to",
        "do",
        str(len(f"not really HDF5: {key}")),
        "B",
        key,
    ]


def test_plan_as_json(bucket_folder: Path, tmp_path: Path) -> None:
    args = ("plan", "--source", bucket_folder, "--lake", tmp_path / "new", "--mouse", "100002", "--tables", "licks,dff_traces", "--json")
    found = json.loads(output(*args))
    assert {k: found[k] for k in ("release", "files", "todo", "bytes", "fetch_at_most", "done", "missing")} == {
        "release": "1.1.0",
        "files": 4,
        "todo": 3,
        "bytes": nwb_bytes(bucket_folder, 1004, 5002, 5003),
        "fetch_at_most": 0,
        "done": 0,
        "missing": 1,
    }
    assert [m["mouse_id"] for m in found["mice"]] == [100002]
    assert "to_do_files" not in found
    listed = json.loads(output(*args, "--list"))
    assert [(f["file_key"], f["tables"], f["gives_behavior"]) for f in listed["to_do_files"]] == [
        (5002, ["dff_traces"], False),
        (5003, ["licks", "dff_traces"], True),
        (1004, ["licks"], True),
    ]
    assert [(f["kind"], f["file_key"]) for f in listed["missing_files"]] == [("ophys_experiment", 5004)]


def test_plan_of_a_remote_source_bounds_what_is_fetched(bucket_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(request: IngestRequest) -> Prepared:
        return replace(prepare(replace(request, source=SourceSpec(str(bucket_folder)))), request=request)

    monkeypatch.setattr("pipelines.ingest.prepare", elsewhere)
    found = json.loads(output("plan", "--source", "s3://bucket", "--lake", tmp_path / "new", "--json", "--list"))
    assert found["source"] == "s3://bucket"
    assert found["fetch_at_most"] == found["bytes"] == sum(f["fetch_at_most"] for f in found["to_do_files"]) > 0


def test_plan_counts_what_is_done(sample_bucket: Path, sample_lake: Path) -> None:
    found = json.loads(output("plan", "--source", sample_bucket, "--lake", sample_lake, "--json"))
    assert (found["todo"], found["bytes"], found["missing"]) == (0, 0, 0)
    assert found["done"] == found["files"] > 0
    again = json.loads(output("plan", "--source", sample_bucket, "--lake", sample_lake, "--json", "--force"))
    assert (again["todo"], again["done"]) == (found["done"], 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--source", "/does/not/exist"),
        ("--source", "ftp://x"),
        ("--release", "9.9.9"),
        ("--tables", "trial"),
        ("--mouse", "1"),
        ("--where", "1; DROP TABLE x"),
    ],
)
def test_plan_refuses(bucket_folder: Path, tmp_path: Path, option: str, value: str) -> None:
    # The messages are those of the planning, and tested there.
    message = refusal("plan", "--lake", tmp_path / "new", "--source", bucket_folder, option, value)
    assert message.startswith("error: ")
    assert value in message


# --- sample ------------------------------------------------------------------------------------------------------------------


def test_sample_says_that_it_is_synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def write_sample(out: Path, **options: Any) -> SampleSummary:
        options.pop("progress")("a/b.nwb", 1, 2)
        given.update(options, out=out)
        return SampleSummary("1.0.1", 1, 1, 1, 2_000_000, out)

    monkeypatch.setattr("pipelines.sample.write_sample", write_sample)
    result = run("sample", "--out", tmp_path / "b", "--scale", "real", "--mice", 1, "--seed", 3, "--release", "1.0.1")
    assert result.exit_code == 0
    assert given == {"out": tmp_path / "b", "scale": "real", "mice": 1, "seed": 3, "release": "1.0.1"}
    assert result.stderr == "[1/2] a/b.nwb\n"
    assert result.stdout == (
        f"{tmp_path}/b: synthetic release 1.0.1, 2 files of 1 mouse, 2.0 MB\n"
        "SYNTHETIC DATA: every number is simulated, no file holds a recording. Never publish it as, or mix it with, the released data.\n"
        f"Next: vblake ingest --source {tmp_path}/b --lake lake\n"
    )


def test_sample_does_not_write_over_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "visual-behavior-ophys").mkdir()
    (tmp_path / "visual-behavior-ophys" / "something").touch()
    assert refusal("sample", "--out", tmp_path) == (
        f"error: The sample cannot be written: {tmp_path}/visual-behavior-ophys already holds files; give an empty folder or remove it."
    )


def test_sample_of_a_release_that_is_none(tmp_path: Path) -> None:
    assert refusal("sample", "--out", tmp_path, "--release", "new") == (
        "error: The sample cannot be written: release must be X.Y.Z, such as 1.1.0; got 'new'."
    )


# --- a lake in S3 ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3_lake(good: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The good lake in a bucket of moto's server, beside an object that is not the lake's."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "it's secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for file in good.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "bucket", f"lakes/one/{file.relative_to(good).as_posix()}")
    client.put_object(Bucket="bucket", Key="other.csv", Body=b"a\n1\n")
    client.close()
    yield "s3://bucket/lakes/one"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.mark.integration
@pytest.mark.parametrize("packaged", [True, False])
def test_a_lake_in_s3(s3_lake: str, packaged: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not packaged:
        monkeypatch.setattr("pipelines.connect._packaged_httpfs", lambda: None)
    elif _packaged_httpfs() is None:
        pytest.skip("there is no duckdb-extension-httpfs for this version of DuckDB")
    assert csv_of("--lake", s3_lake, "SELECT mouse_id, count(*) FROM trials GROUP BY ALL") == [["mouse_id", "count_star()"], ["101", "5"]]
    assert run("sql", "--lake", s3_lake, "-o", tmp_path / "t.parquet", "FROM trials").exit_code == 0
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_rows == 5
    for name in ("s3://bucket/other.csv", f"{s3_lake}/../../other.csv"):
        assert refusal("sql", "--lake", s3_lake, f"FROM '{name}'").startswith(f"error: {name!r} is a file; ")
    verdict = output("verify", "--lake", s3_lake).splitlines()[-1]
    assert verdict.startswith(f"{s3_lake}: ")
    assert verdict.endswith(" files read, no problems")
    assert cells(output("status", "--lake", s3_lake), "trials")[1] == "5"


@pytest.mark.integration
def test_a_lake_in_s3_without_a_catalog(s3_lake: str) -> None:
    assert refusal("sql", "--lake", f"{s3_lake}/none", "SELECT 1", code=1) == (
        f"error: {s3_lake}/none has no catalog.duckdb. Make it with `vblake catalog --lake {s3_lake}/none`."
    )
