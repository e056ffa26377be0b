"""Runs SQL in an environment that has DuckLake's extension; see `make test-ducklake`.

Reads {"attach": SQL, "queries": [SQL, ...]} from stdin and writes the rows of each query as JSON; of
one that fails, the text of its error.
"""

import importlib.util
import json
import sys
from pathlib import Path

import duckdb


def load(con: duckdb.DuckDBPyConnection, extension: str) -> None:
    found = importlib.util.find_spec(f"duckdb_extension_{extension}")
    assert found is not None
    (folder,) = found.submodule_search_locations or ()
    (binary,) = Path(folder).rglob(f"v{duckdb.__version__}/{extension}.duckdb_extension")
    con.execute(f"LOAD '{binary}'")


def main() -> None:
    asked = json.load(sys.stdin)
    con = duckdb.connect()
    load(con, "httpfs")
    load(con, "ducklake")
    con.execute(asked["attach"])
    answers = []
    for query in asked["queries"]:
        try:
            answers.append(con.execute(query).fetchall())
        except duckdb.Error as error:
            answers.append(str(error))
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
