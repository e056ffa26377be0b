"""Connects DuckDB to a lake of this project's commands, as `vblake.open` does."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lake.store import S3Store, Store
from pipelines.sql_text import as_pattern, literal
from schemas.errors import LakeError
from vblake import connection
from vblake.files import Files, find_files

if TYPE_CHECKING:
    import duckdb

    from vblake import Lake


def connect(lake: str | Store) -> duckdb.DuckDBPyConnection:
    """Opens the catalog of a lake, read-only, with `lake_root` set to where the lake is now.

    Args:
        lake: its folder or URL, or its store.

    Raises:
        LakeError: the lake has no catalog, it cannot be opened, or another process writes to it.
    """
    files = lake_files(lake) if isinstance(lake, str) else _files(lake)
    with _told_as_lake_errors():
        return connection.open_catalog(files)


def open_lake(lake: str) -> Lake:
    """Opens a lake as `vblake.open` does.

    Raises:
        LakeError: as for `connect`.
    """
    import vblake

    with _told_as_lake_errors():
        return vblake.open(lake)


def lake_files(lake: str) -> Files:
    """The files of a lake by its folder or URL.

    Raises:
        LakeError: it cannot be the address of a lake, or what reads it there is not installed.
    """
    with _told_as_lake_errors():
        return find_files(lake)


@contextmanager
def _told_as_lake_errors() -> Generator[None]:
    """Turns errors of `vblake` that are written for the user into those of the commands."""
    try:
        yield
    except (ModuleNotFoundError, ValueError) as error:
        raise LakeError(str(error)) from None
    except OSError as error:
        if error.errno is not None:  # of the system, e.g. that the folder may not be read
            raise
        raise LakeError(str(error)) from None


def connect_restricted(
    lake: str | Store, *, output: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Opens the catalog for the user's own SQL: DuckDB reads the lake, writes `output`, no more.

    The settings are locked. They would still let a COPY write into the lake, so check statements
    with `pipelines.catalog.read_only_sql`.

    Args:
        lake: its folder or URL, or its store.
        output: a file that may be written.

    Raises:
        LakeError: the lake has no catalog, or it cannot be opened.
    """
    con = connect(lake)
    root = lake_files(lake).root if isinstance(lake, str) else lake_root(lake)
    # DuckDB checks both the pattern in a view and the files that match it.
    con.execute(f"SET allowed_directories = [{literal(root)}, {literal(as_pattern(root))}]")
    if output is not None:
        con.execute(f"SET allowed_paths = [{literal(str(output))}]")
    # For `query_progress`; DuckDB itself prints nothing.
    con.execute("SET enable_progress_bar = true")
    con.execute("SET enable_progress_bar_print = false")
    con.execute("SET progress_bar_time = 0")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def connect_files(store: Store) -> duckdb.DuckDBPyConnection:
    """Opens an empty database that can read the lake's files under `lake_root(store)`."""
    return connection.connect(_files(store))


def lake_root(store: Store) -> str:
    """Where DuckDB finds the lake, without links and `..`: DuckDB compares paths as text."""
    return _files(store).root


def _files(store: Store) -> Files:
    # The store's own, so that both know what was listed.
    return Files(store.root, store.bucket) if isinstance(store, S3Store) else lake_files(store.root)
