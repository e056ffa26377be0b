"""Dagster's SQLite storage with an event log that is quick enough for an event per table and mouse."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

_BUSY_SECONDS = 60
_OPEN = 4
"""Files kept open: the index over all runs, and one per run."""


class EventLog(SqliteEventLogStorage):
    """Dagster's own opens a file anew for each event, has SQLAlchemy compile each statement anew, asks five times what tables and columns
    there are, and waits for the disk three times.

    Here the files used last stay open, and what was there once is there. The write-ahead log is synced at its checkpoints only: after a
    power failure the last events may be missing, never half there.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        with self._db_lock:
            engine = self._engines.pop(shard, None) or self._open(shard)
            self._engines[shard] = engine
            while len(self._engines) > _OPEN:
                self._engines.pop(next(iter(self._engines))).dispose()
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table. Nothing removes one."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(
            conn, column_name
        ):
            self._columns.add(column_name)
        return column_name in self._columns

    def _open(self, shard: str) -> Engine:
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=QueuePool,
            pool_size=1,
            connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _relaxed)
        return engine

    def dispose(self) -> None:
        """Closes the files."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()


def _relaxed(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


class Storage(DagsterSqliteStorage):
    """Runs and schedules in Dagster's own SQLite files, events in `EventLog`, all below `base_dir`."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = EventLog(self._event_log_storage._base_dir)  # pyright: ignore[reportPrivateUsage]

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> Storage:
        """From dagster.yaml."""
        return cls.from_local(inst_data=inst_data, **config_value)
