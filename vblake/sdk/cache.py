"""The released SDK's cache: the project tables, sessions and experiments of a lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pandas as pd

import vblake.sdk.columns as columns
from vblake.lake import Lake
from vblake.lake import open as open_lake
from vblake.sdk.frames import to_pandas
from vblake.sdk.session import BehaviorOphysExperiment, BehaviorSession


class VisualBehaviorOphysProjectCache:
    """The SDK's cache over a lake; made by `from_lake`. It opens tables when they are asked for."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def __repr__(self) -> str:
        return f"VisualBehaviorOphysProjectCache.from_lake({self._lake.root!r})"

    @classmethod
    def from_lake(cls, lake: str | Path | Lake) -> Self:
        """The cache of a lake.

        Args:
            lake: a folder, an `s3://` prefix, or a lake that is open.

        Raises:
            FileNotFoundError: there is no lake, or it has no catalog.
            LookupError: the lake has another schema version.

        Example:
            >>> cache = VisualBehaviorOphysProjectCache.from_lake(folder)
            >>> cache.get_behavior_session(70).licks
               timestamps  frame
            0        0.50     30
            1        1.25     75
        """
        opened = lake if isinstance(lake, Lake) else open_lake(lake)
        if note := opened.schema_note():
            raise LookupError(f"vblake.sdk cannot read {opened.root}.{note}")
        return cls(opened)

    def current_manifest(self) -> str:
        """The release that the lake holds, e.g. `1.1.0`."""
        ((release,),) = self._lake.sql("SELECT release FROM _lake").fetchall()
        return release

    def get_behavior_session_table(self, **_: Any) -> pd.DataFrame:
        """Every behaviour session of the release, by `behavior_session_id`."""
        return self._table(columns.BEHAVIOR_SESSION_TABLE)

    def get_ophys_session_table(self, **_: Any) -> pd.DataFrame:
        """Every imaging session of the release, by `ophys_session_id`."""
        return self._table(columns.OPHYS_SESSION_TABLE)

    def get_ophys_experiment_table(self, **_: Any) -> pd.DataFrame:
        """Every imaging plane of the release, by `ophys_experiment_id`."""
        return self._table(columns.OPHYS_EXPERIMENT_TABLE)

    def get_ophys_cells_table(self) -> pd.DataFrame:
        """Every valid ROI of the release, by `cell_roi_id`."""
        return self._table(columns.OPHYS_CELLS_TABLE)

    def get_behavior_session(self, behavior_session_id: int) -> BehaviorSession:
        """A behaviour session.

        Raises:
            LookupError: the release does not have it, or it was not ingested or is quarantined.
        """
        return BehaviorSession(self._lake.session(behavior_session_id))

    def get_behavior_ophys_experiment(self, ophys_experiment_id: int) -> BehaviorOphysExperiment:
        """An imaging plane with the behaviour of its session.

        Raises:
            LookupError: the release does not have it, or it was not ingested or is quarantined.
        """
        return BehaviorOphysExperiment(self._lake.experiment(ophys_experiment_id))

    def _table(self, frame: columns.Frame) -> pd.DataFrame:
        return to_pandas(self._lake.scan(frame.table).collect(), frame)
