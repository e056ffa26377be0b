"""`vblake sql` given what it must refuse, or what the user got wrong."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from builders.cli import TRIALS, refusal, run
from typer.testing import CliRunner

from pipelines.catalog.connect import connect_restricted
from pipelines.cli.app import app


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


# --- statements that do more than read --------------------------------------------------------

OTHER_STATEMENTS = {
    "COPY trials TO '{lake}/trials/x.parquet'": "a COPY",
    "explain\nanalyze DELETE FROM _lake": "a DELETE",
    "ATTACH '{lake}/new.duckdb' AS n": "an ATTACH",
    "CREATE OR REPLACE TEMP VIEW trials AS SELECT 1": "a CREATE",
    "WITH t AS (SELECT 1) INSERT INTO _lake SELECT 1, 2, 3, NULL FROM t": "an INSERT",
    "SET enable_external_access = true": "a SET",
}


@pytest.mark.parametrize(("statement", "kind"), OTHER_STATEMENTS.items())
def test_statements_that_do_more_than_read_are_refused(
    lake: Path, statement: str, kind: str
) -> None:
    before = tree(lake)
    assert refusal("sql", "--lake", lake, statement.replace("{lake}", str(lake))) == (
        f"error: vblake sql only reads, but the text is {kind} statement. "
        "Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN; to write a result to a file, give --output."
    )
    assert tree(lake) == before


@pytest.mark.parametrize(
    "statement",
    [
        # DuckDB 2.0 counts the first as a SELECT, and runs it where it is not in brackets.
        "WITH t AS (COPY trials TO '{lake}/x.csv') FROM t",
        "SELECT 1); COPY (SELECT 1) TO '{lake}/x.csv'; SELECT (1",
        "EXPLAIN (ANALYZE, FORMAT json) COPY trials TO '{lake}/x.csv'",
    ],
)
def test_a_statement_in_a_query_writes_nothing(lake: Path, statement: str) -> None:
    before = tree(lake)
    for options in ((), ("--format", "csv")):
        refusal("sql", "--lake", lake, *options, statement.replace("{lake}", str(lake)))
    assert tree(lake) == before


# --- files that are not the lake's ------------------------------------------------------------

FOREIGN_FILES = {
    "a table function": "read_csv('{outside}/secret.csv')",
    "a file in place of a table": "'{outside}/secret.parquet'",
    "a path through the lake": "read_csv('{lake}/../secret.csv')",
    "the environment": "read_text('/proc/self/environ')",
    "another host": "'https://127.0.0.1:1/secret.csv'",
}


@pytest.mark.parametrize("source", FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_no_file_outside_the_lake_is_read(lake: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "secret.csv").write_text("a\nc4n4ry\n")
    duckdb.connect().execute(f"COPY (SELECT 'c4n4ry') TO '{tmp_path}/secret.parquet'")
    text = source.format(lake=lake, outside=tmp_path)
    message = refusal("sql", "--lake", lake, f"FROM {text}")
    assert "c4n4ry" not in message
    assert message.endswith(
        "vblake sql reads the lake and no other file: query a table (see `vblake tables`), "
        "or use DuckDB itself."
    )


def test_variables_of_the_program_are_no_tables(lake: Path) -> None:
    message = refusal("sql", "--lake", lake, "SELECT * FROM store")
    assert "store does not exist" in message


def test_duckdb_itself_is_locked(lake: Path, tmp_path: Path) -> None:
    with connect_restricted(str(lake), output=tmp_path / "out.parquet") as con:
        assert con.execute("SELECT count(*) FROM trials").fetchone() == (5,)
        for statement in (f"COPY (SELECT 1) TO '{tmp_path}/x.parquet'", "LOAD httpfs"):
            with pytest.raises(duckdb.PermissionException):
                con.execute(statement)
        with pytest.raises(duckdb.InvalidInputException, match="the configuration has been locked"):
            con.execute("SET enable_external_access = true")
        with pytest.raises(duckdb.InvalidInputException, match="attached in read-only mode"):
            con.execute("DELETE FROM _lake")


# --- where the result goes --------------------------------------------------------------------


def test_a_result_is_not_written_into_the_lake(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("lake")
    before = tree(lake)
    assert refusal("sql", "--lake", "lake", "--output", "link/x.csv", "SELECT 1") == (
        "error: link/x.csv is inside the lake, where a result would become part of a table. "
        "Give another --output."
    )
    assert tree(lake) == before


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            " ; -- nothing",
            "error: There is no SQL statement to run. Give one in quotes, "
            'e.g. vblake sql "SELECT * FROM trials LIMIT 5".',
        ),
        (
            "SELECT 1; DROP VIEW trials",
            "error: vblake sql runs one statement, but the text has 2 (SELECT, DROP). "
            "Run them one by one.",
        ),
        (
            "PIVOT licks ON frame USING count(*)",
            "error: vblake sql runs PIVOT only if its values are named: "
            "PIVOT ... ON column IN (value, ...) USING ....",
        ),
        (
            "EXPLAIN (FORMAT json) SELECT 1",
            "error: vblake sql runs EXPLAIN and EXPLAIN ANALYZE of a query, "
            "without options or comments in between.",
        ),
    ],
)
def test_what_is_not_one_statement(lake: Path, statement: str, message: str) -> None:
    result = run("sql", "--lake", lake, "-", stdin=statement)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message + "\n")


def test_duckdb_explains_mistakes_with_the_users_own_lines(lake: Path) -> None:
    lines = refusal("sql", "--lake", lake, "SELECT *\nFROM trial").splitlines()
    assert lines[0] == "error: Catalog Error: Table with name trial does not exist!"
    assert "LINE 2: FROM trial" in lines


def test_a_value_that_is_too_large_is_an_error(lake: Path) -> None:
    assert refusal("sql", "--lake", lake, "SELECT range(1_000_000_000_000)").startswith("error: ")


def test_sql_that_is_not_utf8(lake: Path) -> None:
    # Python decodes such an argument to a surrogate.
    message = refusal("sql", "--lake", lake, "SELECT '\udce9'")
    assert message.startswith("error: The SQL contains a NUL character or bytes that are not UTF-8")
    arguments = ["sql", "--lake", str(lake), "-"]
    result = CliRunner().invoke(app, arguments, input=b"SELECT '\xe9'", prog_name="vblake")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: The SQL on stdin is not UTF-8 text")


def test_a_lake_file_that_does_not_open(lake: Path) -> None:
    (lake / TRIALS).write_bytes(b"nonsense" * 10)
    lines = refusal("sql", "--lake", lake, "SELECT * FROM trials", code=1).splitlines()
    assert "No magic bytes found at end of file" in lines[0]
    assert f"{lake}/{TRIALS}" in lines[0]
    assert lines[-1] == (
        "If files were replaced while the query ran, run it again; "
        f"otherwise see `vblake verify --lake {lake}`."
    )
