"""`vblake sql` given what is hostile or mistaken."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from builders.cli import TRIALS, refusal

from pipelines.lake.store import LocalStore

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
def test_statements_that_do_more_than_read_are_refused(
    lake: Path, statement: str, kind: str
) -> None:
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
def test_functions_that_read_files_or_change_something_are_refused(
    lake: Path, statement: str, call: str, name: str
) -> None:
    before = sorted(lake.rglob("*"))
    text = statement.replace("{call}", call.replace("{lake}", str(lake)))
    assert (
        refusal("sql", "--lake", lake, text)
        == f"error: {name} cannot be used in vblake sql, {NO_FILES}"
    )
    assert sorted(lake.rglob("*")) == before


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "{lake}/trials/mouse_id=101/trials.parquet",
        "s3://bucket/lake/../x.csv",
        "x/../../y.json",
    ],
)
def test_files_in_place_of_tables_are_refused(lake: Path, name: str) -> None:
    name = name.replace("{lake}", str(lake))
    assert refusal("sql", "--lake", lake, f"SELECT * FROM '{name}'") == (
        f"error: {name!r} is a file; vblake sql reads the lake through its catalog and no other file. "
        "Query a table (see `vblake tables`), or use DuckDB itself."
    )


def test_duckdb_itself_keeps_to_the_lake(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What stands when the checks of statements are got round.
    from pipelines.catalog.connect import connect_restricted

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
        for statement in (
            "SET enable_external_access = true",
            "RESET allowed_directories",
            "SET threads = 1",
        ):
            with pytest.raises(
                duckdb.InvalidInputException, match="the configuration has been locked"
            ):
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
        (
            "",
            'There is no SQL statement to run. Give one in quotes, e.g. vblake sql "SELECT * FROM trials LIMIT 5".',
        ),
        (
            " ; -- nothing",
            'There is no SQL statement to run. Give one in quotes, e.g. vblake sql "SELECT * FROM trials LIMIT 5".',
        ),
        (
            "SELECT 1; SELECT 2",
            "vblake sql runs one statement, and was given 2 (SELECT, SELECT). Run them one by one.",
        ),
        (
            "SELECT 1; DROP VIEW trials",
            "vblake sql runs one statement, and was given 2 (SELECT, DROP). Run them one by one.",
        ),
        (
            "PIVOT licks ON frame USING count(*)",
            "vblake sql runs PIVOT only with its values named: PIVOT ... ON column IN (value, ...) USING ....",
        ),
        (
            "PRAGMA table_info('trials')",
            "vblake sql cannot tell what this statement does. Use SELECT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN.",
        ),
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"\n\nLINE 1: SELEC 1\n        ^'),
        (
            "SELECT 1) TO '/x' --",
            "Parser Error: syntax error at or near \")\"\n\nLINE 1: SELECT 1) TO '/x' --\n                ^",
        ),
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
    assert (
        message.splitlines()[0]
        == f"error: Invalid Input Error: No magic bytes found at end of file '{lake}/{TRIALS}'"
    )
    assert (
        message.splitlines()[-1]
        == f"Where files were replaced while the query ran, run it again; else see `vblake verify --lake {lake}`."
    )
