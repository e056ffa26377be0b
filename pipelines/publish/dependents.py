"""Holds back rows that depend on others which are held back, or which the lake does not have.

Workers do so for the tables that they read from a file. What is left are tables that an earlier run
read from it, and the planes of a session: they refer to its behaviour, which may come from the file
of another plane. A table that was never selected holds nothing back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.check.finding import some
from pipelines.lake.ledger import (
    Entry,
    Identity,
    Ledger,
    Status,
    TableOutcome,
    TableStatus,
    givers,
    lost_parent,
)
from pipelines.lake.store import DamagedError, Store, reading
from schemas import TABLES, ForeignKey, Table, session_parents
from schemas.casts import NDArray


class Dependents:
    """Finds the rows of one mouse that are to be held back, table by table.

    Args:
        store: the lake. When a table is asked for, those before it are published.
        before: the ledger of the mouse as it is.
        entries: the new entries; what is held back is noted there.
        staged: gives the file with the new rows of a table, None for those of earlier runs.
    """

    def __init__(
        self,
        store: Store,
        before: Ledger,
        entries: Ledger,
        staged: Callable[[Identity, str], Path | None],
    ) -> None:
        self._store = store
        self._entries = entries
        self._ledger = before | entries
        self._givers = givers(self._ledger.values())
        self._staged = staged
        self._held: dict[tuple[str, Identity], NDArray] = {}

    def hold_back(self, table: Table) -> list[Identity]:
        """Holds back rows of a table.

        Returns:
            The files whose rows must not be, or no longer be, in the lake.
        """
        found: list[Identity] = []
        for identity, entry in self._ledger.items():
            if entry.outcome(table.name) not in (TableStatus.INGESTED, TableStatus.ABSENT):
                continue
            giver = self._givers.get(entry.behavior_session_id)
            outcome = self._within_file(table, entry) if identity in self._entries else None
            new = giver and not {identity, giver.identity}.isdisjoint(self._entries)
            if giver and new and outcome is None:
                outcome = self._within_session(table, entry, giver)
            if outcome is not None:
                self._entries[identity] = entry.with_outcome(outcome)
                found.append(identity)
        self._ledger |= self._entries
        return found

    def _within_file(self, table: Table, entry: Entry) -> TableOutcome | None:
        # What an earlier run published of a file that is quarantined stays.
        if entry.status is Status.QUARANTINED:
            return None
        lost = {t.table for t in entry.held_back}
        parent = next((p for p in table.depends_on if p in lost), None)
        return TableOutcome.of_parent(table.name, parent) if parent else None

    def _within_session(self, table: Table, entry: Entry, giver: Entry) -> TableOutcome | None:
        if (lost := lost_parent(table, giver)) is not None:
            file = f"{giver.file_kind.value} {giver.file_key}"
            found = f"{lost} of the session, which {file} gives, is not in the lake"
            return TableOutcome.of_parent(table.name, lost, found)
        parents = session_parents(table) if entry.row_counts.get(table.name) else ()
        for key in table.foreign_keys:
            if key.table in parents and key.table in giver.row_counts:
                column = key.columns[-1]
                if (found := self._missing(table, key, entry, giver)) is not None:
                    return TableOutcome.of_parent(table.name, key.table, found, column)
        return None

    def _missing(self, table: Table, key: ForeignKey, entry: Entry, giver: Entry) -> str | None:
        """What the rows from a file refer to and the lake does not have; None if it has all."""
        column = key.columns[-1]
        staged = self._staged(entry.identity, table.name)
        try:
            if (key.table, giver.identity) not in self._held:
                of_session = self._keys(TABLES[key.table], giver, key.references[-1])
                self._held[key.table, giver.identity] = of_session
            held = self._held[key.table, giver.identity]
            if staged is None:
                named = self._keys(table, entry, column)
            else:
                named = _values(pq.read_table(staged, columns=[column]), column)
        except DamagedError as error:
            return str(error)
        # Half the time of np.setdiff1d, which sorts the references first.
        lost = np.unique(named[~np.isin(named, held)])
        return f"{column} {some(lost.tolist())} missing" if len(lost) else None

    def _keys(self, table: Table, entry: Entry, column: str) -> NDArray:
        """A column of the rows that the lake has from a file.

        Raises:
            DamagedError: they cannot be read.
        """
        unit = table.unit_key
        assert unit is not None
        path = entry.path_of(table)
        with reading(self._store, path):
            file = self._store.parquet(path)
            if file is None:
                return np.empty(0, np.int64)
            if unit in table.storage.partitions:  # the file has this unit's rows only
                return _values(file.read([column]), column)
            rows = file.read([unit, column])
            own = _values(rows, unit) == getattr(entry, unit)
            return _values(rows.filter(pa.array(own)), column)


def _values(rows: pa.Table, column: str) -> NDArray:
    return rows.column(column).drop_null().to_numpy()
