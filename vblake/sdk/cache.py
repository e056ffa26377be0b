"""The released SDK's cache: the project tables, sessions and experiments of a lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn, Self

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
            lake: a folder, an `s3://` prefix, an address on a web server, or a lake that is open.

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

    @classmethod
    def from_s3_cache(cls, *_: Any, **__: Any) -> NoReturn:
        """Says what to write instead: `from_lake`.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "vblake.sdk reads a lake instead of NWB files. Write "
            'VisualBehaviorOphysProjectCache.from_lake("lake") with the folder of your lake. '
            "`vblake ingest --lake lake` makes one."
        )

    from_local_cache = from_s3_cache
    from_lims = from_s3_cache

    def current_manifest(self) -> str:
        """Name of the manifest of the release that the lake holds, `..._v1.1.0.json`."""
        ((release,),) = self._lake.sql("SELECT release FROM _lake").fetchall()
        return f"visual-behavior-ophys_project_manifest_v{release}.json"

    latest_manifest_file = current_manifest
    latest_downloaded_manifest_file = current_manifest

    def list_manifest_file_names(self) -> list[str]:
        """Names of the manifests that can be loaded: the one of the lake's release."""
        return [self.current_manifest()]

    list_all_downloaded_manifests = list_manifest_file_names

    def load_manifest(self, manifest_name: str) -> None:
        """Does nothing if the lake holds this release.

        Raises:
            LookupError: the lake holds another one.
        """
        if manifest_name != self.current_manifest():
            raise LookupError(
                f"{self._lake.root} has the release of {self.current_manifest()}, not of "
                f"{manifest_name}. Ingest that release into a lake of its own and open it."
            )

    def load_latest_manifest(self) -> None:
        """Does nothing: the lake holds one release."""

    def get_behavior_session_table(
        self,
        suppress: list[str] | None = None,
        as_df: bool = True,
        include_ophys_data: bool = True,
        include_trial_metrics: bool = False,
    ) -> pd.DataFrame:
        """Every behaviour session of the release, by `behavior_session_id`.

        The parameters change nothing, as in the SDK where it reads the released data.
        """
        return self._table(columns.BEHAVIOR_SESSION_TABLE)

    def get_ophys_session_table(
        self,
        suppress: list[str] | None = None,
        index_column: str = "ophys_session_id",
        as_df: bool = True,
        include_behavior_data: bool = True,
    ) -> pd.DataFrame:
        """Every imaging session of the release, by `ophys_session_id`.

        The parameters change nothing, as in the SDK where it reads the released data.
        """
        return self._table(columns.OPHYS_SESSION_TABLE)

    def get_ophys_experiment_table(
        self, suppress: list[str] | None = None, as_df: bool = True
    ) -> pd.DataFrame:
        """Every imaging plane of the release, by `ophys_experiment_id`.

        The parameters change nothing, as in the SDK where it reads the released data.
        """
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
