"""Dagster's record of a lake: which partitions are in it, and which runs go on.

A materialisation is reported as soon as a mouse is in the lake, by a thread of its own. What a
killed run has published but not reported is read from the ledger.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import dagster as dg

from assets.instance import RUNNING
from assets.partitions import register_mice
from pipelines.convert.staged import FileResult
from pipelines.lake.ledger import LEDGER, Entry, Identity, Status, TableStatus, read_ledger
from pipelines.lake.store import Store
from schemas import TABLES, Storage, Subject, Table
from schemas.layout import CATALOG, relative_path

FROM_NWB = [t for t in TABLES.values() if t.subject is not Subject.PROJECT]
PROJECT = [t for t in TABLES.values() if t.subject is Subject.PROJECT]

_HELD = (TableStatus.INGESTED, TableStatus.ABSENT)


# --- what a materialisation says -----------------------------------------------------------------


def materialization(
    store: Store,
    table: Table,
    mouse: int,
    entries: Iterable[Entry],
    work: Mapping[Identity, FileResult] | None = None,
) -> dg.AssetMaterialization:
    """The event for one table of one mouse, with numbers that Dagster plots.

    Args:
        store: the lake.
        table: the table.
        mouse: the mouse.
        entries: the ledger of the mouse.
        work: the files of this run by their identity in the ledger, whose bytes and seconds are
            given; else the bytes of all files of the mouse.
    """
    entries = list(entries)
    if table.name == LEDGER.name:
        rows, of_table = len(entries), entries
        held_back = sum(bool(e.held_back) for e in entries)
    else:
        outcomes = [(e, t) for e in entries for t in e.tables if t.table == table.name]
        rows = sum(t.rows for _, t in outcomes)
        of_table = [e for e, t in outcomes if t.status in _HELD]
        held_back = sum(t.status is TableStatus.HELD_BACK for _, t in outcomes)
    read = [e for e in of_table if work is None or e.identity in work]
    image_sets = table.storage is Storage.IMAGE_SET  # they belong to no mouse
    folder = table.name if image_sets else f"{table.name}/mouse_id={mouse}"
    metadata: dict[str, int | float] = {
        "dagster/row_count": rows,
        "files": len(of_table),
        "files_held_back": held_back,
        "bytes_out": sum(store.files(folder).values()),
    }
    if read:
        metadata["bytes_in"] = sum(e.bytes_fetched or e.bytes or 0 for e in read)
    if read and work is not None:
        metadata["seconds"] = round(sum(work[e.identity].seconds for e in read), 3)
    return dg.AssetMaterialization(table.name, partition=str(mouse), metadata=metadata)


def project_materialization(store: Store, table: Table, rows: int | None) -> dict[str, int]:
    """The numbers of a project table."""
    size = store.files(table.name).get(relative_path(table), 0)
    return {"bytes_out": size} if rows is None else {"dagster/row_count": rows, "bytes_out": size}


def catalog_materialization(store: Store) -> dg.AssetMaterialization:
    """The event for the catalog."""
    return dg.AssetMaterialization("catalog", metadata={"path": f"{store.root}/{CATALOG}"})


def _marked(instance: dg.DagsterInstance, names: Iterable[str]) -> set[str]:
    """Which of some assets were ever reported, found with one query."""
    return {
        record.asset_entry.asset_key.to_user_string()
        for record in instance.get_asset_records([dg.AssetKey(name) for name in names])
        if record.asset_entry.last_materialization is not None
    }


def mark_unpartitioned(
    store: Store,
    instance: dg.DagsterInstance,
    report: Callable[[dg.AssetMaterialization], object],
    *,
    again: bool = False,
) -> None:
    """Reports the project tables and the catalog that are in the lake and were never reported.

    Args:
        store: the lake.
        instance: the record.
        report: takes an event.
        again: report the tables that were reported before, too, because all have changed.
    """
    marked = _marked(instance, [*(table.name for table in PROJECT), "catalog"])
    for table in PROJECT:
        known = not again and table.name in marked
        if store.exists(relative_path(table)) and not known:
            file = store.parquet(relative_path(table))
            rows = None if file is None else file.metadata.num_rows
            metadata = project_materialization(store, table, rows)
            report(dg.AssetMaterialization(table.name, metadata=metadata))
    if store.exists(CATALOG) and "catalog" not in marked:
        report(catalog_materialization(store))


def mark_published(instance: dg.DagsterInstance, store: Store, most: int | None = None) -> bool:
    """Reports what is in the lake, according to its ledger, and was never reported.

    Args:
        instance: the record.
        store: the lake.
        most: how many partitions to report at most.

    Returns:
        Whether that was all.
    """
    ledger: dict[int, list[Entry]] = {}
    for entry in read_ledger(store).values():
        ledger.setdefault(entry.mouse_id, []).append(entry)
    register_mice(instance, ledger)
    mark_unpartitioned(store, instance, instance.report_runless_asset_event)
    left = [
        (table, mouse)
        for table in FROM_NWB
        for mouse in _unmarked(instance, table, ledger)
        if _is_held(table, ledger[mouse])
    ]
    for table, mouse in left[:most]:
        event = materialization(store, table, mouse, ledger[mouse])
        instance.report_runless_asset_event(event)
    return most is None or len(left) <= most


def _unmarked(
    instance: dg.DagsterInstance, table: Table, ledger: Mapping[int, object]
) -> list[int]:
    known = instance.get_materialized_partitions(dg.AssetKey(table.name))
    return [mouse for mouse in ledger if str(mouse) not in known]


def _is_held(table: Table, entries: list[Entry]) -> bool:
    """Whether the lake holds a table of a mouse, as runs report it: no file is quarantined."""
    if any(e.status in (Status.QUARANTINED, Status.SKIPPED) for e in entries):
        return False
    return table.name == LEDGER.name or any(
        t.table == table.name and t.status in _HELD for e in entries for t in e.tables
    )


# --- reporting meanwhile --------------------------------------------------------------------------

_BEHIND = 2
"""Mice that the record may be behind the lake. Few, so that a run that is stopped has reported what
it published within the seconds that it is given."""


class Recorder:
    """Reports the events of one mouse after another, in a thread.

    Dagster takes a third of a second for the tables of a mouse. Meanwhile the next mouse and the
    catalog are published.
    """

    def __init__(self, report: Callable[[dg.AssetMaterialization], object]) -> None:
        self._report = report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._waiting: list[Future[None]] = []

    @classmethod
    @contextmanager
    def of(cls, context: dg.AssetExecutionContext) -> Generator[Recorder]:
        """The recorder of a step in a block, whose end waits for it, also after an error."""
        recorder = cls(context.log_event)
        with _kept_open(context.instance, context.run.run_id), recorder._thread:
            yield recorder
            recorder.wait()

    def add(self, events: Sequence[dg.AssetMaterialization]) -> None:
        """Reports the events of a mouse, soon.

        Raises:
            SQLAlchemyError: earlier ones could not be recorded.
        """
        self.wait(_BEHIND - 1)
        self._waiting.append(self._thread.submit(self._report_all, events))

    def wait(self, behind: int = 0) -> None:
        """Waits until the events of all mice but the last few are recorded.

        Raises:
            SQLAlchemyError: some could not be.
        """
        while len(self._waiting) > behind or (self._waiting and self._waiting[0].done()):
            self._waiting.pop(0).result()

    def _report_all(self, events: Sequence[dg.AssetMaterialization]) -> None:
        for event in events:
            self._report(event)


@contextmanager
def _kept_open(instance: dg.DagsterInstance, run_id: str) -> Generator[None]:
    """Keeps the databases open to which Dagster writes the events of a run.

    It opens and closes them for each event. Whoever closes an SQLite database last puts its log
    into it: ten flushes of the disk for each event instead of two, and a fifth more processor time.
    """
    folder = Path(instance.root_directory) / "history" / "runs"
    with ExitStack() as stack:
        for path in (folder / "index.db", folder / f"{run_id}.db"):
            if path.is_file():  # Dagster may be set to another kind of database
                connection = stack.enter_context(closing(sqlite3.connect(path)))
                with suppress(sqlite3.Error):  # Dagster will say what is wrong
                    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


# --- runs whose process has died ------------------------------------------------------------------

IN_PROGRESS = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def hold(instance: dg.DagsterInstance, run_id: str) -> int:
    """Locks a file for a run, which shows others that its process lives.

    The kernel frees the lock when the process ends, however it ends. A run of the web interface
    has a process of its own, so it never gives the lock back.

    Returns:
        The file's descriptor.
    """
    folder = Path(instance.root_directory) / RUNNING
    folder.mkdir(exist_ok=True)
    new = folder / f".{uuid.uuid4().hex}"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.replace(folder / run_id)  # nobody ever sees it without the lock
    return descriptor


@contextmanager
def alive(instance: dg.DagsterInstance, run_id: str) -> Generator[None]:
    """Holds the lock of a run in the block."""
    descriptor = hold(instance, run_id)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            (Path(instance.root_directory) / RUNNING / run_id).unlink()
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock of a file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def mark_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Records runs as failed whose process has died without a word, as after `kill -9`.

    Returns:
        Their ids.
    """
    dead: list[str] = []
    folder = Path(instance.root_directory) / RUNNING
    for path in folder.iterdir() if folder.is_dir() else ():
        if not _is_free(path):
            continue
        run = instance.get_run_by_id(path.name)
        if run is not None and run.status in IN_PROGRESS:
            dead.append(run.run_id)
            if run.status is dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, "The process of the run has ended.")
            else:
                instance.report_run_failed(
                    run,
                    "The process of the run has died: it was killed, most often for lack of "
                    "memory, or the machine was restarted. The same command, or a re-execution, "
                    "goes on from what is in the lake.",
                )
        path.unlink(missing_ok=True)
    return dead


def settle(instance: dg.DagsterInstance, store: Store) -> None:
    """Brings the record up to date after runs that were killed; does nothing if there are none."""
    if mark_dead_runs(instance):
        mark_published(instance, store)
