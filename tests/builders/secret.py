"""A lake beside files that are not the lake's, and whose content must not come out."""

from __future__ import annotations

from pathlib import Path

import duckdb

from builders.lake import build_lake

CANARY = "c4n4ry"
"""The content of the files beside the lake. No output may contain it."""


def lake_beside_secrets(folder: Path) -> None:
    """Writes the hand-made lake and files with the canary into a folder."""
    build_lake(folder / "lake")
    (folder / "secret.csv").write_text(f"a,b\n{CANARY},1\n")
    (folder / "secret.json").write_text(f'{{"a": "{CANARY}"}}\n')
    with duckdb.connect(str(folder / "secret.duckdb")) as con:
        con.execute(f"CREATE TABLE t AS SELECT '{CANARY}' AS a")
        con.execute(f"COPY t TO '{folder}/secret.parquet'")
        con.execute("CREATE TABLE secret AS FROM t")
