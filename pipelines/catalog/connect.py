"""Connects DuckDB to a lake: to its catalog, read-only, wherever the lake is now.

The catalog is attached to a database in memory instead of being opened. So the settings of a
connection, and the lock on them, do not affect other connections of the process, and a catalog that
was replaced in the meantime is seen at once.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from functools import cache
from pathlib import Path
from shlex import quote

import duckdb

from pipelines.lake.store import LocalStore, S3Store, Store
from pipelines.os_errors import first_line
from pipelines.sql_text import LAKE_ROOT, as_pattern, literal
from schemas.errors import LakeError
from schemas.layout import CATALOG

_DATABASE = "lake"
_SETTINGS = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    # Otherwise DuckDB looks for unknown tables among the variables of the Python program.
    "python_enable_replacements = false",
    # Dates in the lake are UTC; by default DuckDB shows them in the machine's time zone.
    "TimeZone = 'UTC'",
)

_HOLDER = re.compile(r"lock is held in (.+ \(PID \d+\))")
"""What DuckDB says of the process that has a database open."""


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """Opens the catalog of a lake, read-only, with `lake_root` set to where the lake is now.

    Raises:
        LakeError: the lake has no catalog, it cannot be opened, or another process writes to it.
    """
    con = connect_files(store)
    try:
        _attach_catalog(con, store)
        con.execute(f"USE {_DATABASE}")
        con.execute(f"SET VARIABLE {LAKE_ROOT} = {literal(as_pattern(lake_root(store)))}")
    except BaseException as error:
        con.close()
        if not isinstance(error, duckdb.Error):
            raise
        if holder := _HOLDER.search(str(error)):
            raise LakeError(
                f"{store.root}/{CATALOG} is open for writing in {holder[1]}. "
                "Close it there, or open it there with read_only=True."
            ) from None
        raise LakeError(
            f"{store.root}/{CATALOG} cannot be opened ({first_line(error)}). "
            f"Rebuild it with `vblake catalog --lake {quote(store.root)}`."
        ) from None
    return con


def connect_restricted(store: Store, *, output: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Opens the catalog for the user's own SQL: DuckDB reads the lake, writes `output`, no more.

    The settings are locked. They would still let a COPY write into the lake, so check statements
    with `pipelines.catalog.read_only_sql`.

    Args:
        store: the lake.
        output: a file that may be written.

    Raises:
        LakeError: the lake has no catalog, or it cannot be opened.
    """
    con = connect(store)
    root = lake_root(store)
    # DuckDB checks both the pattern in a view and the files that match it.
    con.execute(f"SET allowed_directories = [{literal(root)}, {literal(as_pattern(root))}]")
    if output is not None:
        con.execute(f"SET allowed_paths = [{literal(str(output))}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def connect_files(store: Store) -> duckdb.DuckDBPyConnection:
    """Opens an empty database that can read the lake's files under `lake_root(store)`."""
    con = duckdb.connect(":memory:")
    for setting in _SETTINGS:
        con.execute(f"SET {setting}")
    # The default is a folder `.tmp` in the working directory. DuckDB creates the folder when a
    # query needs it, and removes it.
    con.execute(f"SET temp_directory = {literal(str(_spill_folder()))}")
    if isinstance(store, S3Store):
        con.register_filesystem(store.filesystem)
    return con


@cache
def _spill_folder() -> Path:
    # A name that others cannot guess: they may write to the folder for temporary files as well.
    return Path(tempfile.gettempdir()) / f"vblake-duckdb-{uuid.uuid4().hex}"


def remove_spilled() -> None:
    """Removes the temporary files of queries that were interrupted."""
    shutil.rmtree(_spill_folder(), ignore_errors=True)


def lake_root(store: Store) -> str:
    """Where DuckDB finds the lake, without links and `..`: DuckDB compares paths as text."""
    return str(store.folder.resolve()) if isinstance(store, LocalStore) else store.root


def _attach_catalog(con: duckdb.DuckDBPyConnection, store: Store) -> None:
    with tempfile.TemporaryDirectory(prefix="vblake-catalog-") as folder:
        path = Path(folder) / CATALOG
        if isinstance(store, LocalStore):
            path = store.folder / CATALOG
        elif (data := store.read(CATALOG)) is not None:
            path.write_bytes(data)
        if not path.is_file():
            raise LakeError(
                f"{store.root} has no {CATALOG}. "
                f"Build it with `vblake catalog --lake {quote(store.root)}`."
            )
        con.execute(f"ATTACH {literal(str(path))} AS {_DATABASE} (READ_ONLY)")
        # ATTACH reads only the header; this finds a file that was cut off. DuckDB keeps the file
        # open, so its name may go.
        con.execute(
            f"SELECT count(*) FROM duckdb_views() WHERE database_name = {literal(_DATABASE)}"
        )
