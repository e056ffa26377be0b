"""DuckDB on a lake: the catalog read-only, wherever the lake is now, and a variant for SQL of unknown origin.

The catalog is attached to a database in memory, not opened itself. So settings of one connection, the lock on them included, never
reach another one in the same process, and a catalog that was replaced in the meantime is seen at once.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlsplit

import duckdb

from pipelines.lake.store import LocalStore, S3Store, Store
from pipelines.sql_text import LAKE_ROOT, as_pattern, identifier, literal
from schemas.errors import LakeError
from schemas.layout import CATALOG

_DATABASE = "lake"
_SETTINGS = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    # Else a table that does not exist is looked for among the variables of the Python program.
    "python_enable_replacements = false",
    # Dates in the lake are UTC; without this, they are shown in the machine's time zone.
    "TimeZone = 'UTC'",
)


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """The catalog of a lake, read-only, with `lake_root` set to where the lake is now.

    Raises:
        LakeError: the lake has no catalog, or it cannot be opened.
    """
    return _with_catalog(connect_files(store), store)


def connect_restricted(store: Store, *, output: Path | None = None) -> duckdb.DuckDBPyConnection:
    """The same for SQL that nobody has checked: DuckDB may read the lake and write `output`, and nothing else.

    Settings are locked. DuckDB would still let a COPY write into the lake, so statements are to be checked besides.

    Args:
        store: the lake.
        output: file that may be written.

    Raises:
        LakeError: the lake has no catalog, or it cannot be opened.
    """
    con = connect(store)
    root = lake_root(store)
    # DuckDB asks both for the pattern in a view and for the files it matches.
    con.execute(f"SET allowed_directories = [{literal(root)}, {literal(as_pattern(root))}]")
    if output is not None:
        con.execute(f"SET allowed_paths = [{literal(str(output))}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def connect_files(store: Store) -> duckdb.DuckDBPyConnection:
    """An empty database that can read the lake's files under `lake_root(store)`.

    Raises:
        LakeError: the lake is in S3 and there are no credentials for it.
    """
    con = duckdb.connect(":memory:")
    for setting in _SETTINGS:
        con.execute(f"SET {setting}")
    # The default is a folder `.tmp` in the working directory. DuckDB makes it when a query needs it and removes it.
    con.execute(f"SET temp_directory = {literal(str(_spill_folder()))}")
    if isinstance(store, S3Store):
        _reach_s3(con, store)
    return con


@cache
def _spill_folder() -> Path:
    # A name that nobody can foresee: others may write to the folder for temporary files.
    return Path(tempfile.gettempdir()) / f"vblake-duckdb-{uuid.uuid4().hex}"


def remove_spilled() -> None:
    """Removes what queries that were not brought to an end have put on the disk."""
    shutil.rmtree(_spill_folder(), ignore_errors=True)


def lake_root(store: Store) -> str:
    """Where DuckDB finds the lake. Links and `..` are resolved, since DuckDB compares paths as text."""
    return str(store.folder.resolve()) if isinstance(store, LocalStore) else store.root


def _with_catalog(con: duckdb.DuckDBPyConnection, store: Store) -> duckdb.DuckDBPyConnection:
    try:
        if isinstance(store, LocalStore):
            path = store.folder / CATALOG
            if not path.is_file():
                raise _no_catalog(store)
            _attach(con, path)
        else:
            data = store.read(CATALOG)
            if data is None:
                raise _no_catalog(store)
            with tempfile.TemporaryDirectory(prefix="vblake-catalog-") as folder:
                path = Path(folder) / CATALOG
                path.write_bytes(data)
                _attach(con, path)  # DuckDB keeps the file open; its name is not needed any more
        con.execute(f"USE {_DATABASE}")
        con.execute(f"SET VARIABLE {LAKE_ROOT} = {literal(as_pattern(lake_root(store)))}")
    except duckdb.Error as error:
        con.close()
        raise LakeError(
            f"{store.root}/{CATALOG} cannot be opened ({first_line(error)}). Make it anew with `vblake catalog --lake {quote(store.root)}`."
        ) from None
    except LakeError:
        con.close()
        raise
    return con


def _attach(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    con.execute(f"ATTACH {literal(str(path))} AS {_DATABASE} (READ_ONLY)")
    # DuckDB reads no more than the header at first; this finds a file that was cut off.
    con.execute(f"SELECT count(*) FROM duckdb_views() WHERE database_name = {literal(_DATABASE)}")


def _no_catalog(store: Store) -> LakeError:
    return LakeError(
        f"{store.root} has no {CATALOG}. Make it with `vblake catalog --lake {quote(store.root)}`."
    )


def first_line(error: duckdb.Error) -> str:
    """What DuckDB has to say, without the statement and the stack trace that may follow."""
    return str(error).strip().split("\n", 1)[0]


# --- S3 ----------------------------------------------------------------------------------------------------------------------


def _reach_s3(con: duckdb.DuckDBPyConnection, store: S3Store) -> None:
    """Lets DuckDB read the bucket: by its own extension, which is several times faster, or through s3fs."""
    extension = _packaged_httpfs()
    if extension is None:
        con.register_filesystem(store.filesystem)
        return
    con.execute(f"LOAD {literal(str(extension))}")
    options = {name: value for name, value in _s3_options().items() if value is not None}
    options["SCOPE"] = store.root
    given = ", ".join(
        f"{name} {value if isinstance(value, bool) else literal(value)}"
        for name, value in options.items()
    )
    con.execute(f"CREATE SECRET {identifier('lake')} (TYPE s3, PROVIDER config, {given})")


def _packaged_httpfs() -> Path | None:
    """The httpfs extension for this DuckDB from the package duckdb-extension-httpfs, None where it is not installed."""
    try:
        import duckdb_extension_httpfs  # pyright: ignore
    except ImportError:
        return None
    folder = (
        Path(str(duckdb_extension_httpfs.__file__)).parent / "extensions" / f"v{duckdb.__version__}"
    )
    file = folder / "httpfs.duckdb_extension"
    return file if file.is_file() else None


def _s3_options() -> dict[str, str | bool | None]:
    """Credentials, region and endpoint as every AWS program finds them: environment, profile, instance role."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    module: Any = botocore.session
    try:
        session = module.get_session()
        found = session.get_credentials()
        keys: Any = found.get_frozen_credentials() if found else None
        region = session.get_config_variable("region") or "us-east-1"
        endpoint = str(session.create_client("s3", region_name=region).meta.endpoint_url)
    except BotoCoreError as error:
        raise LakeError(
            f"The AWS settings cannot be used ({error}). Check environment and profile."
        ) from None
    options: dict[str, str | bool | None] = {"REGION": region}
    if keys is not None:
        options |= {
            "KEY_ID": keys.access_key,
            "SECRET": keys.secret_key,
            "SESSION_TOKEN": keys.token,
        }
    parts = urlsplit(endpoint)
    if not parts.netloc.endswith(".amazonaws.com"):
        options |= {
            "ENDPOINT": parts.netloc + parts.path.rstrip("/"),
            "URL_STYLE": "path",
            "USE_SSL": parts.scheme == "https",
        }
    return options
