"""Connects DuckDB to a lake: to its catalog, read-only, wherever the lake is now.

It needs DuckDB alone, so that commands which only run SQL start fast.
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

from vblake.files import CATALOG, MARKER, Files

LAKE_ROOT = "lake_root"
"""DuckDB variable with the place of the lake, which the catalog's views use."""

_DATABASE = "lake"
_SETTINGS = (
    # Nothing is downloaded behind the user's back.
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    # A mistyped table is an error, not a variable of the Python program that happens to match.
    "python_enable_replacements = false",
    # Times in the lake are UTC; by default DuckDB shows them in the machine's time zone.
    "TimeZone = 'UTC'",
    # A join with a list of sessions opens the files of these; with more than 50, DuckDB would open
    # all files between the lowest and the highest id.
    "dynamic_or_filter_threshold = 5000",
)

_HOLDER = re.compile(r"lock is held in (.+ \(PID \d+\))")
"""What DuckDB says of the process that has a database open."""


def connect(files: Files) -> duckdb.DuckDBPyConnection:
    """An empty database in memory that can read the lake's files under `files.root`."""
    connection = duckdb.connect(":memory:")
    for setting in _SETTINGS:
        connection.execute(f"SET {setting}")
    # The default is a folder `.tmp` in the working directory. DuckDB creates the folder when a
    # query needs it, and removes it.
    connection.execute(f"SET temp_directory = {literal(str(_spill_folder()))}")
    if files.remote is not None:
        connection.register_filesystem(files.remote)
    else:
        # The system keeps local files in memory anyway. DuckDB's own copy takes 10 kB for each of
        # 30,000 footers, and the first query to a table of 4,800 files a third longer.
        connection.execute("SET enable_external_file_cache = false")
    return connection


def open_catalog(files: Files) -> duckdb.DuckDBPyConnection:
    """Attaches the catalog of a lake read-only, with `lake_root` set to where the lake is now.

    The catalog is attached to a database in memory instead of being opened. So the settings of a
    connection, and a lock on them, do not affect other connections of the process, and a catalog
    that was replaced since is seen by the next connection.

    Raises:
        FileNotFoundError: there is no lake, or it has no catalog.
        OSError: the catalog is damaged, or another process writes to it.
    """
    connection = connect(files)
    try:
        _attach(connection, files)
        connection.execute(f"USE {_DATABASE}")
        connection.execute(f"SET VARIABLE {LAKE_ROOT} = {literal(escaped(files.root))}")
    except BaseException as error:
        connection.close()
        if not isinstance(error, duckdb.Error):
            raise
        raise OSError(_explained(error, files.root)) from None
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, files: Files) -> None:
    with tempfile.TemporaryDirectory(prefix="vblake-") as folder:
        path = f"{files.root}/{CATALOG}"
        if files.remote is not None:
            data = files.read_catalog()
            path = f"{folder}/{CATALOG}"
            if data is not None:
                Path(path).write_bytes(data)
        if not Path(path).is_file():
            raise _no_catalog(files)
        connection.execute(f"ATTACH {literal(path)} AS {_DATABASE} (READ_ONLY)")
        # A file that was cut off is found here if ATTACH has read only its header. DuckDB keeps the
        # file open, so the name of a copy may go.
        connection.execute(
            f"SELECT count(*) FROM duckdb_schemas() WHERE database_name = {literal(_DATABASE)}"
        )


def _no_catalog(files: Files) -> FileNotFoundError:
    if files.on_web_server:
        return FileNotFoundError(f"{files.root} has no {CATALOG}. Check the lake's address.")
    if files.read(MARKER) is not None:
        return FileNotFoundError(
            f"{files.root} has no {CATALOG}. "
            f"Build it with `vblake catalog --lake {quote(files.root)}`."
        )
    missing = files.remote is None and not Path(files.root).exists()
    why = "there is no such folder" if missing else f"it has no {CATALOG}"
    return FileNotFoundError(
        f"{files.root} is not a vblake lake: {why}. Check the path, "
        f"or make a lake with `vblake ingest --lake {quote(files.root)}`."
    )


def _explained(error: duckdb.Error, root: str) -> str:
    text = str(error).strip()
    if holder := _HOLDER.search(text):
        return (
            f"{root}/{CATALOG} is open for writing in {holder[1]}. "
            "Close it there, or open it there with read_only=True."
        )
    first = text.split("\n", 1)[0]
    return (
        f"{root}/{CATALOG} cannot be opened ({first}). "
        f"Rebuild it with `vblake catalog --lake {quote(root)}`."
    )


@cache
def _spill_folder() -> Path:
    # A name that others cannot guess: they may write to the folder for temporary files as well.
    return Path(tempfile.gettempdir()) / f"vblake-duckdb-{uuid.uuid4().hex}"


def remove_spilled() -> None:
    """Removes the temporary files of queries that were interrupted."""
    shutil.rmtree(_spill_folder(), ignore_errors=True)


def literal(text: str) -> str:
    """A text as it is written in SQL.

    Example:
        >>> literal("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def escaped(path: str) -> str:
    """A path as it is written in a glob pattern: a folder may be named `run[1]`.

    Example:
        >>> escaped("/data/run[1]")
        '/data/run[[]1]'
    """
    return re.sub(r"[\[*?]", r"[\g<0>]", path)
