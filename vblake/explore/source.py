"""The open lake behind the page: runs queries, remembers their rows, says why rows are missing."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from vblake.explore.query import Place, Query
from vblake.files import MARKER

if TYPE_CHECKING:
    import polars as pl

    from vblake.lake import Lake

_REMEMBERED = 48
"""Results that are kept. The largest, a trace or an hour of running, has 5 MB."""


class Source:
    """A lake that the page shows.

    DuckDB's connection is not for several threads at once, hence the lock.

    Attributes:
        lake: the open lake.
        is_synthetic: whether the lake says that nobody recorded its data.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        marker = self.lake.files.read(MARKER)
        self.is_synthetic = marker is not None and bool(json.loads(marker).get("synthetic"))
        self._lock = Lock()
        self._rows: OrderedDict[str, pl.DataFrame] = OrderedDict()

    @property
    def name(self) -> str:
        """The address of the lake."""
        return self.lake.root

    def rows(self, query: Query) -> pl.DataFrame:
        """The rows of a query.

        Raises:
            duckdb.Error: the lake cannot be read.
        """
        with self._lock:
            found = self._rows.pop(query.sql, None)
            if found is None:
                with warnings.catch_warnings():
                    # That a table was never ingested is said on the page, by `why_missing`.
                    warnings.simplefilter("ignore", UserWarning)
                    found = self.lake.sql(query.sql).pl()
            self._rows[query.sql] = found
            while len(self._rows) > _REMEMBERED:
                self._rows.popitem(last=False)
            return found

    def why_missing(self, query: Query, place: Place) -> str:
        """Why a table has no rows for a session or plane, for people."""
        what = "This session" if place.plane is None else "This plane"
        try:
            with self._lock:
                if place.plane is None:
                    rows = self.lake.session(place.session).table(query.table)
                else:
                    rows = self.lake.experiment(place.plane).table(query.table)
        except LookupError as error:
            return str(error)
        if rows.is_empty():
            return f"{what} has no {query.table}: its file has none."
        return f"{what} has {len(rows):,} rows in {query.table}, but none that fits here."
