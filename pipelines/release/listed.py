"""What the project tables list for an experiment, for the worker to compare its file with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipelines.release.project_tables import ProjectTables
from schemas import TABLES
from schemas.arrow import to_numpy


class Listed:
    """Look-ups in the project tables of a release."""

    def __init__(self, project: ProjectTables) -> None:
        self._keys = {
            key.columns[0]: (
                key.table,
                set(project.tables[key.table].column(key.references[0]).to_pylist()),
            )
            for key in TABLES["ophys_experiments"].foreign_keys
        }
        cells = project.tables.get("ophys_cells")
        # Sorted by experiment, as declared: 130,000 rows in the release.
        self._cells = (
            None
            if cells is None
            else [to_numpy(cells.column(name)) for name in ("ophys_experiment_id", "cell_roi_id")]
        )

    def cells(self, experiment: int | None) -> tuple[int, ...] | None:
        """ROIs of an experiment by ophys_cells; None if there is no experiment or no such table."""
        if self._cells is None or experiment is None:
            return None
        experiments, rois = self._cells
        start, stop = np.searchsorted(experiments, (experiment, experiment + 1))
        return tuple(rois[start:stop].tolist())

    def without(self, ids: Mapping[str, int | None]) -> tuple[str, ...]:
        """Project tables that the row of an experiment refers to in vain.

        Args:
            ids: of the file, by the names of the columns.
        """
        if ids["ophys_experiment_id"] is None:
            return ()
        return tuple(
            table for column, (table, there) in self._keys.items() if ids[column] not in there
        )
