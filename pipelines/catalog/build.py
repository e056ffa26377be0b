"""Builds the DuckDB catalog: views over the Parquet files, with comments, aliases and declarations.

The catalog is built in memory, copied to a file beside the old one, and that is renamed into its
place: readers keep the old one open.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import chain
from shlex import quote

import duckdb

from pipelines.catalog.about import write_about
from pipelines.catalog.connect import connect_files, lake_root
from pipelines.catalog.declared import Declared, Listing, declarations, files, lake
from pipelines.catalog.macros import MACROS, Macro
from pipelines.lake.generations import changing, settle
from pipelines.lake.marker import read_marker, require_lake
from pipelines.lake.store import DamagedError, Store
from pipelines.os_errors import first_line, free
from pipelines.sql_text import LAKE_ROOT, as_pattern, identifier, literal, rows_as_json, view_source
from schemas import TABLES, Table, Type
from schemas.bi import BI_SCHEMA, BI_VIEWS
from schemas.errors import LakeError
from schemas.layout import CATALOG
from schemas.views import VIEWS, View


def selected(table: Table) -> str:
    """The SQL of the columns of a table in its view.

    A program gets a TIMESTAMP WITH TIME ZONE from DuckDB only if pytz is installed. The files label
    their dates UTC.
    """
    names = [(identifier(c.name), c.type is Type.TIMESTAMP) for c in table]
    return ", ".join(f"make_timestamp(epoch_us({n})) AS {n}" if time else n for n, time in names)


def with_aliases(declared: Table | View, query: str) -> str:
    """A query of the declared columns, then once more those with aliases of newer releases."""
    aliases = [
        f"{identifier(c.name)} AS {identifier(c.alias)}" for c in declared if c.alias is not None
    ]
    return f"SELECT *, {', '.join(aliases)} FROM ({query})" if aliases else query


def _commented_view(declared: Table | View, query: str, schema: str = "main") -> Iterator[str]:
    comments = {c.name: c.comment for c in declared}
    comments |= {
        c.alias: f"Newer name of {c.name}. {c.comment}" for c in declared if c.alias is not None
    }
    view = f"{schema}.{identifier(declared.name)}"
    yield f"CREATE OR REPLACE VIEW {view} AS {with_aliases(declared, query)}"
    yield f"COMMENT ON VIEW {view} IS {literal(declared.description)}"
    for column, comment in comments.items():
        yield f"COMMENT ON COLUMN {view}.{identifier(column)} IS {literal(comment)}"


def _declared(table: Declared) -> Iterator[str]:
    columns = [f"{name} {type_}" for name, type_ in table.columns.items()]
    if table.primary_key:
        columns.append(f"PRIMARY KEY ({', '.join(table.primary_key)})")
    yield f"CREATE OR REPLACE TABLE {table.name} ({', '.join(columns)})"
    if table.rows:
        yield f"INSERT INTO {table.name} {rows_as_json(table.columns, table.rows)}"
    yield f"COMMENT ON TABLE {table.name} IS {literal(table.comment)}"


def _macro(macro: Macro) -> Iterator[str]:
    kind = "TABLE " if macro.returns_table else ""
    yield f"CREATE MACRO {macro.signature} AS {kind}{macro.body}"
    yield f"COMMENT ON MACRO {kind}{macro.name} IS {literal(macro.description)}"


def _statements(sources: Mapping[str, str], tables: Iterable[Declared]) -> Iterator[str]:
    """The statements that make a catalog, in order.

    Args:
        sources: what stands after FROM to read the files of each table.
        tables: what describes the lake.
    """
    yield from _views(sources)
    for view in VIEWS.values():
        yield from _commented_view(view, view.query)
    yield f"CREATE SCHEMA {BI_SCHEMA}"
    for view in BI_VIEWS.values():
        yield from _commented_view(view, view.query, BI_SCHEMA)
    for macro in MACROS.values():
        yield from _macro(macro)
    for declared in tables:
        yield from _declared(declared)


def _views(sources: Mapping[str, str]) -> Iterator[str]:
    """The statements that make the views of tables."""
    for name, source in sources.items():
        table = TABLES[name]
        yield from _commented_view(table, f"SELECT {selected(table)} FROM {source}")


def _sources(store: Store, listed: Listing, tables: Iterable[str] = TABLES) -> dict[str, str]:
    return {
        name: view_source(TABLES[name], store.root, has_files=bool(listed[name])) for name in tables
    }


def _listed(store: Store) -> Listing:
    return {name: store.table_files(table) for name, table in TABLES.items()}


def build_catalog(store: Store, release: str) -> None:
    """Builds the catalog from the files that the lake has, and replaces the old one atomically.

    It also writes what `describe_lake` does.

    Raises:
        DamagedError: a file of the lake cannot be read.
        LakeError: the catalog cannot be written.
    """
    with closing(GrowingCatalog(store, release)) as catalog:
        catalog.settle()


def rebuild_catalog(store: Store, wait_s: float = 0.0) -> str:
    """Builds the catalog from the lake's files, and returns the release that they are of.

    Args:
        store: the lake.
        wait_s: how long to wait for another process that writes to the lake, seconds.

    Raises:
        LakeError: there is no lake, another process is writing to it, or `build_catalog` fails.
    """
    settle(store, wait_s)
    release = require_lake(store).release
    with changing(store, wait_s):
        build_catalog(store, release)
        # An empty folder would make each plan look for files that an interrupted ingest left.
        with suppress(OSError):
            store.staging.rmdir()
    return release


def describe_lake(store: Store) -> None:
    """Writes the files by which a lake says what it is; a generation in the making has none."""
    _describe(store, _listed(store))


def _describe(store: Store, listed: Listing) -> None:
    marker = read_marker(store)
    if marker is not None:
        write_about(store, marker.release, listed, synthetic=marker.synthetic)


class GrowingCatalog:
    """The catalog of a lake while an ingest adds files to it. Close it in the end.

    Views list their files at each query, so the catalog is written when a table gets its first
    file: with the first mouse of a new lake, which can then be queried while others are converted.
    At the end it is written once more, with the list of all files. It is kept in memory meanwhile,
    since to renew what has changed takes a tenth of the time of building it.
    """

    def __init__(self, store: Store, release: str) -> None:
        self._store = store
        self._release = release
        self._draft: _Draft | None = None
        self._built: Listing = {}

    def keep_up(self) -> None:
        """Writes the catalog if a table has got its first file; always the first time."""
        without = [TABLES[name] for name, listed in self._built.items() if not listed]
        if self._built and not any(map(self._store.table_files, without)):
            return
        # The damaged file may belong to a mouse that this ingest replaces; else `settle` fails.
        with suppress(DamagedError):
            self.settle()

    def settle(self) -> None:
        """Writes the catalog at the end of an ingest, if it is not up to date.

        Raises:
            LakeError: as for `build_catalog`.
        """
        listed = _listed(self._store)
        if listed == self._built:
            return
        renewed = (files(listed), lake(self._release, self._store.root))
        if self._draft is None:
            statements = _statements(_sources(self._store, listed), (*declarations(), *renewed))
            self._draft = _Draft(self._store)
        else:
            began = [n for n in TABLES if bool(listed[n]) != bool(self._built[n])]
            views = _views(_sources(self._store, listed, began))
            statements = chain(views, *map(_declared, renewed))
        try:
            self._draft.change(statements)
            self._draft.publish()
        except LakeError:
            self.close()
            raise
        _describe(self._store, listed)
        self._built = listed

    def close(self) -> None:
        """Frees the memory."""
        if self._draft is not None:
            self._draft.close()
        self._draft, self._built = None, {}


def write_catalog(store: Store, sources: Mapping[str, str], tables: Iterable[Declared]) -> None:
    """Writes a catalog, and replaces the old one atomically.

    Args:
        store: the lake, which has the files already.
        sources: what stands after FROM to read the files of each table.
        tables: what describes the lake.

    Raises:
        DamagedError: a file of the lake cannot be read.
        LakeError: the catalog cannot be written.
    """
    with closing(_Draft(store)) as draft:
        draft.change(_statements(sources, tables))
        draft.publish()


class _Draft:
    """A catalog in memory. Use it no more after an error.

    Args:
        store: the lake.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._con = con = connect_files(store)
        # More threads would only wait, and take the processors on which files are converted.
        con.execute("SET threads = 1")
        con.execute(f"SET VARIABLE {LAKE_ROOT} = {literal(as_pattern(lake_root(store)))}")
        con.execute("ATTACH ':memory:' AS fresh")
        con.execute("USE fresh")

    def change(self, statements: Iterable[str]) -> None:
        """Executes statements.

        Raises:
            DamagedError: a file of the lake cannot be read.
            LakeError: the lake cannot be read.
        """
        with _told_as_lake_errors(self._store):
            self._con.execute(";\n".join(("BEGIN", *statements, "COMMIT")))

    def publish(self) -> None:
        """Writes the catalog, and replaces the old one atomically.

        Raises:
            LakeError: it cannot be written.
        """
        staging = self._store.staging
        staging.mkdir(parents=True, exist_ok=True)
        staged = staging / f"catalog-{uuid.uuid4().hex}.duckdb"
        try:
            with _told_as_lake_errors(self._store):
                # A third of the size with small blocks: readers of a bucket fetch all of it.
                self._con.execute(f"ATTACH {literal(str(staged))} AS written (BLOCK_SIZE 16384)")
                self._con.execute("COPY FROM DATABASE fresh TO written")
                self._con.execute("DETACH written")
        except LakeError:
            for left in staging.glob(f"{staged.name}*"):
                left.unlink()
            raise
        self._store.publish(staged, CATALOG)

    def close(self) -> None:
        """Frees the memory."""
        self._con.close()


@contextmanager
def _told_as_lake_errors(store: Store) -> Generator[None]:
    try:
        yield
    except duckdb.InvalidInputException as error:
        raise DamagedError(
            f"{store.root}/{CATALOG} was not rebuilt, because a file of the lake cannot be "
            f"read ({first_line(error)}). `vblake verify --lake {quote(store.root)}` says how "
            "to repair it. The rows of the other tables are in the lake."
        ) from error
    except (duckdb.OperationalError, duckdb.FatalException) as error:
        raise LakeError(
            f"{store.root}/{CATALOG} cannot be written ({first_line(error)}; "
            f"{free(store.staging)}). Repair the cause and run `vblake catalog --lake "
            f"{quote(store.root)}`. The tables are complete."
        ) from error
