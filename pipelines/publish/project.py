"""Publishes the project tables."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pipelines.lake.store import Store
from pipelines.lake.writer import write_table
from schemas import TABLES
from schemas.layout import relative_path


def publish_project_tables(store: Store, tables: Mapping[str, pa.Table], release: str) -> None:
    """Writes the project tables, those that changed."""
    store.staging.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        table = TABLES[name]
        staged = store.staging / f"{name}.parquet"
        write_table(table, staged, [rows], release=release)
        path = relative_path(table)
        if store.read(path) == staged.read_bytes():
            staged.unlink()
        else:
            store.publish(staged, path)
