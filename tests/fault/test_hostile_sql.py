"""SQL that wants more than to read the lake: other files, the network, settings, extensions, the lake itself as something to write."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from builders.cli import run
from builders.command import vblake
from builders.secret import CANARY
from click.testing import Result
from conftest import Figure

from pipelines.catalog.connect import connect_restricted
from pipelines.catalog.read_only_sql import _TABLE_FUNCTIONS, checked_query
from pipelines.lake.store import LocalStore
from schemas.errors import UsageError

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def attempts(figure: Figure) -> Iterator[list[str]]:
    made: list[str] = []
    yield made
    figure(
        f"hostile SQL: {len(made)} queries with {len(set(made))} kinds of source in {len(PLACES)} places: none read anything but the lake"
    )


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*")}


def sql(text: str, *options: str) -> Result:
    return run("sql", "--lake", "lake", *options, "-", stdin=text)


def refused(text: str) -> str:
    result = sql(text, "--format", "csv")
    assert (result.exit_code, result.stdout) == (2, ""), text
    assert result.stderr.startswith("error: "), text
    assert "Traceback" not in result.stderr
    assert CANARY not in result.stderr, text
    return result.stderr


FILES = [
    "'secret.csv'",
    '"secret.parquet"',
    "'./secret.json'",
    "'lake/../secret.csv'",
    "'{place}/secret.parquet'",
    "'{place}/lake/../secret.parquet'",
    "'{place}/lake/trials/../../secret.parquet'",
    "'file://{place}/secret.csv'",
    "'file:secret.csv'",
    "'~/secret.csv'",
    "'https://127.0.0.1:1/secret.csv'",
    "'s3://bucket/secret.parquet'",
    "'hf://datasets/x/secret.parquet'",
    "'/proc/self/environ'",
    "'*.csv'",
    "['secret.csv']",
    "memory.main.'secret.csv'",
    'lake.main."secret.csv"',
    "secret.main.t",
    "read_csv('secret.csv')",
    "read_csv_auto(['secret.csv'])",
    "\"read_csv\"('secret.csv')",
    "system.main.read_csv('secret.csv')",
    "read_csv/**/('secret.csv', delim := ',')",
    "ReAd_TeXt('secret.csv')",
    "read_blob('secret.csv')",
    "read_json_objects('secret.json')",
    "read_duckdb('secret.duckdb')",
    "parquet_scan('secret.parquet')",
    "parquet_metadata('secret.parquet')",
    "parquet_kv_metadata('lake/**/*.parquet')",
    "sniff_csv('secret.csv')",
    "glob('*')",
    "query('FROM ''secret.csv''')",
    "query_table('secret.csv')",
    "json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "duckdb_secrets()",
    "which_secret('s3://bucket/x', 's3')",
    "duckdb_logs()",
    "enable_logging(storage := 'file', storage_path := 'lake/log')",
    "force_checkpoint()",
    "start_ui()",
    "pragma_storage_info('_lake')",
]
"""What a query must not read from."""

PLACES = [
    "FROM {file}",
    "SELECT (SELECT count(*) FROM {file})",
    "WITH t AS MATERIALIZED (FROM {file}) FROM t",
    "WITH RECURSIVE t AS (SELECT 1 AS a UNION SELECT 2 FROM {file}) FROM t",
    "SELECT 1 FROM trials WHERE EXISTS (FROM {file})",
    "SELECT 1 WHERE 1 IN (SELECT 1 FROM {file})",
    "SELECT * FROM trials, LATERAL (FROM {file})",
    "SELECT * FROM trials LEFT JOIN (FROM {file}) f ON true",
    "SELECT * FROM trials POSITIONAL JOIN (FROM {file})",
    "SELECT 1 FROM trials GROUP BY (SELECT count(*) FROM {file})",
    "SELECT count(*) HAVING (SELECT count(*) FROM {file}) > 0",
    "SELECT 1 FROM trials QUALIFY (SELECT count(*) FROM {file}) > 0",
    "SELECT 1 FROM trials ORDER BY (SELECT count(*) FROM {file})",
    "SELECT 1 FROM trials LIMIT (SELECT count(*) FROM {file})",
    "SELECT 1 LIMIT 1 OFFSET (SELECT count(*) FROM {file})",
    "SELECT sum(1) OVER (PARTITION BY (SELECT count(*) FROM {file})) FROM trials",
    "SELECT count(*) FILTER (WHERE EXISTS (FROM {file})) FROM trials",
    "SELECT 1 UNION ALL SELECT count(*) FROM {file}",
    "VALUES ((SELECT count(*) FROM {file}))",
    "SELECT * FROM range((SELECT count(*) FROM {file}))",
    "SELECT * FROM unnest([(SELECT count(*) FROM {file})])",
    "SELECT list_transform([1], lambda x: (SELECT count(*) FROM {file}))",
    "SELECT {{'a': (SELECT count(*) FROM {file})}}",
    "SELECT * REPLACE ((SELECT count(*) FROM {file}) AS go) FROM trials",
    "SELECT CASE WHEN (SELECT count(*) FROM {file}) > 0 THEN 1 END",
    "FROM (DESCRIBE FROM {file})",
    "SUMMARIZE FROM {file}",
    "FROM (PIVOT (FROM {file}) ON a IN (1) USING count(*))",
    "UNPIVOT (FROM {file}) ON a",
    "FROM summary((FROM {file}))",
    "SELECT 1 -- {file}\n, * FROM {file}",
]
"""Where in a query it may stand."""


@pytest.mark.parametrize("where", PLACES)
def test_no_place_in_a_query_reads_anything_but_the_lake(
    place: Path, where: str, soak: bool, seed: int, attempts: list[str]
) -> None:
    chosen = FILES if soak else random.Random(f"{seed} {where}").sample(FILES, 4)
    before = tree(place)
    for file in chosen:
        refused(where.format(file=file.format(place=place)))
        attempts.append(file)
    assert tree(place) == before


@pytest.mark.parametrize("file", FILES)
def test_nothing_but_the_lake_is_read(place: Path, file: str) -> None:
    before = tree(place)
    refused(f"FROM {file.format(place=place)}")
    assert tree(place) == before


def test_only_the_known_table_functions_of_duckdb_may_be_called() -> None:
    # A newer DuckDB may bring new ones; they are refused until somebody has looked at them.
    with connect_restricted(LocalStore(Path("lake").absolute())) as con:
        names = [
            n
            for (n,) in con.execute(
                "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
            ).fetchall()
        ]
        assert len(names) > 50
        passed: set[str] = set()
        for name in names:
            try:
                checked_query(con, f'FROM "{name}"()')
            except UsageError:
                continue
            passed.add(name)
    assert passed <= _TABLE_FUNCTIONS


@pytest.mark.parametrize(
    "statement",
    [
        "INSTALL ui; CALL start_ui()",
        "FORCE INSTALL httpfs FROM core_nightly",
        "LOAD 'lake/x.duckdb_extension'",
        "UPDATE EXTENSIONS",
        "CREATE SECRET (TYPE s3, PROVIDER credential_chain)",
        "CREATE PERSISTENT SECRET s (TYPE s3)",
        "ATTACH 'secret.duckdb' AS secret",
        "ATTACH 'lake/catalog.duckdb' AS w (READ_WRITE)",
        "ATTACH ':memory:' AS m",
        "USE secret",
        "COPY (SELECT 1) TO 'lake/trials/mouse_id=101/x.parquet'",
        "COPY trials TO '/dev/stdout'",
        "COPY _lake FROM 'secret.csv'",
        "COPY FROM DATABASE lake TO memory",
        "EXPORT DATABASE 'lake/x'",
        "IMPORT DATABASE 'lake'",
        "SET allowed_directories = ['/']",
        "SET GLOBAL enable_external_access = true",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "SET VARIABLE lake_root = '/'",
        "SET temp_directory = '{place}/lake'",
        "PRAGMA enable_profiling = 'json'",
        "PRAGMA add_parquet_key('a', '0123456789112345')",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CREATE MACRO trials() AS TABLE FROM 'secret.csv'",
        "CREATE FUNCTION f() AS 1",
        "CREATE TEMP VIEW trials AS SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO _lake VALUES ('', '', '', NULL)",
        "explain analyze CREATE TABLE memory.x AS SELECT 1",
        "SELECT 1; COPY trials TO 'x.csv'",
        "SELECT 1;\n-- one\n; DELETE FROM _lake",
        "/* ; */ DELETE FROM _lake",
        "SELECT 1); COPY (SELECT 1) TO 'x.csv'; SELECT (1",
        "SELECT 1) TO 'x.csv' (FORMAT csv); --",
        "SELECT 1\n) AS q(c0); COPY (SELECT 1) TO 'x.csv'; --",
        "SELECT 1 \uff1b DELETE FROM _lake",
        "SELECT 1 \u037e DELETE FROM _lake",
        "SELECT 1\0; DELETE FROM _lake",
        "WITH x AS (DELETE FROM _lake RETURNING *) FROM x",
        "FROM (DELETE FROM _lake RETURNING *)",
        "SELECT getenv('SECRET')",
        "SELECT read_text('secret.csv')",
        "SELECT start_ui()",
        "SELECT nextval('s')",
        "SELECT $1",
        "BEGIN; DELETE FROM _lake; COMMIT",
        "DROP VIEW trials",
        "COMMENT ON VIEW trials IS 'x'",
        "ANALYZE",
        ".shell id",
        "\\! id",
    ],
)
def test_nothing_is_done_but_reading(place: Path, statement: str) -> None:
    before = tree(place)
    message = refused(statement.format(place=place) if "{place}" in statement else statement)
    assert "Sorry" not in message
    assert tree(place) == before


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda n: f"SELECT {'(' * n}1{')' * n}", (0, 2)),
        (lambda n: f"SELECT {'not ' * n}true", (2,)),
        (lambda n: f"SELECT 1{'+1' * n}", (2,)),
        (lambda n: f"SELECT {'[' * n}{']' * n}", (2,)),
        (lambda n: "SELECT " + "{'a': " * n + "1" + "}" * n, (2,)),
        (lambda n: f"SELECT 1{'::INT' * n}", (2,)),
        (lambda n: f"SELECT NULL::INT{'[]' * n}", (2,)),
        (lambda n: f"{'FROM (' * n}FROM trials{')' * n}", (2,)),
        (lambda n: f"SELECT {'(SELECT ' * n}1{')' * n}", (2,)),
        (lambda n: f"SELECT {'list_transform([1], lambda x: ' * n}x{')' * n}", (2,)),
        (lambda n: f"SELECT 1 FROM trials{', trials' * n}", (2,)),
        (lambda n: f"SELECT {'x' * n}", (2,)),
        (lambda n: f"SELECT length('{'x' * n}')", (0,)),
        (lambda n: "/*" * n, (2,)),
        (lambda n: ";" * n, (2,)),
        (lambda n: "EXPLAIN " * n + "SELECT 1", (2,)),
    ],
)
def test_nested_and_endless_text_is_refused_and_nothing_crashes(
    make: Callable[[int], str], code: tuple[int, ...]
) -> None:
    result = sql(make(3_000), "--format", "csv")
    assert result.exit_code in code
    assert result.exit_code == 0 or result.stderr.startswith("error: ")
    assert "Sorry" not in result.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('x', 10_000_000_000)",
        "SELECT range(1_000_000_000_000)",
        "SELECT bitstring('1', 2_000_000_000_000)",
    ],
)
def test_a_value_that_is_too_large_is_an_error(query: str) -> None:
    result = sql(query)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize("as_argument", [True, False])
def test_sql_that_is_not_utf8(as_argument: bool) -> None:
    text = b"SELECT '\xe9'"
    done = vblake(
        "sql", "--lake", "lake", text if as_argument else "-", stdin=b"" if as_argument else text
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"error: The SQL ")
    assert b"UTF-8" in done.stderr


# --- where the result goes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "lake/x.parquet",
        "lake/trials/mouse_id=101/x.parquet",
        "link/trials/x.csv",
        "lake/../lake/_staging/x.json",
    ],
)
def test_a_result_is_not_written_into_the_lake(place: Path, name: str) -> None:
    # A Parquet file there would be part of a table.
    (place / "link").unlink(missing_ok=True)
    (place / "link").symlink_to("lake")
    (place / "lake/_staging").mkdir(exist_ok=True)
    before = tree(place)
    result = sql("SELECT 1", "--output", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr
        == f"error: {name} lies in the lake, where results would be taken for its tables. Give another --output.\n"
    )
    assert tree(place) == before


def test_a_result_with_a_name_that_is_sql(place: Path) -> None:
    name = 'it\'s "here"; DROP TABLE x --.parquet'
    assert sql("FROM licks", "--output", name).exit_code == 0
    assert duckdb.read_parquet(str(place / name)).fetchall()
    (place / name).unlink()
