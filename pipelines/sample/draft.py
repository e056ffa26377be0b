"""An NWB file under construction, and the helpers that both halves of a file share."""

from __future__ import annotations

import hashlib
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.sample.nwb_extensions import build_manager
from pipelines.sample.nwb_libraries import build_warnings, common, h5py, hdf5, pynwb
from pipelines.sample.tables import Columns

Blocks = Callable[[], Iterator[tuple[slice, Any]]]


@dataclass
class Draft:
    """The pynwb object, its layout, and the changes made to the file after pynwb has written it.

    `fills` maps the path of a dataset that was declared empty to its blocks of rows: a real file
    has 670 MB, which are never in memory at once. `attributes` maps a path to attributes that pynwb
    cannot write.
    """

    nwb: Any
    legacy: bool
    fills: dict[str, Blocks] = field(default_factory=dict[str, Blocks])
    attributes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def later(
        self, path: str, shape: tuple[int, ...], dtype: type[np.generic], blocks: Blocks
    ) -> Any:
        """Declares a contiguous dataset at `path`; `save` fills it from `blocks` afterwards."""
        self.fills[path] = blocks
        return hdf5.H5DataIO(shape=shape, dtype=np.dtype(dtype))


def vectors(columns: Columns, descriptions: dict[str, str], default: str) -> list[Any]:
    """Returns the columns as hdmf vectors.

    `default` describes columns that are not in `descriptions`; `{name}` stands for their name.
    """
    return [
        common.VectorData(
            name=name, description=descriptions.get(name, default.format(name=name)), data=values
        )
        for name, values in columns.items()
    ]


def save(path: Path, draft: Draft) -> None:
    """Writes the draft to `path`. The same draft gives the same bytes."""
    _name_objects(draft.nwb)
    with (
        warnings.catch_warnings(),
        pynwb.NWBHDF5IO(str(path), "w", manager=build_manager(draft.legacy)) as io,
    ):
        # The extension's named series replace the unnamed ones that newer versions of NWB require.
        warnings.filterwarnings(
            "ignore",
            "EllipseEyeTracking 'EyeTracking' is missing",
            build_warnings.MissingRequiredBuildWarning,
        )
        # `expandable` would make every column chunked; the release's are contiguous.
        io.write(draft.nwb, expandable=[])
    with h5py.File(path, "r+") as file:
        for name, attributes in draft.attributes.items():
            for key, value in attributes.items():
                file[name].attrs[key] = value
        for name, blocks in draft.fills.items():
            for rows, values in blocks():
                file[name][rows] = values


def _name_objects(nwb: Any) -> None:
    """Gives every object an id that depends only on the file and its place; pynwb draws random
    ones.
    """
    containers: list[Any] = [nwb, *nwb.all_children()]
    for container in containers:
        parent = container.parent.name if container.parent else ""
        place = f"{nwb.identifier}/{parent}/{container.name}/{type(container).__name__}"
        code = hashlib.blake2b(place.encode(), digest_size=16).digest()
        # hdmf accepts an id only from a file that it reads; there is no public way to set one.
        vars(container)["_AbstractContainer__object_id"] = str(uuid.UUID(bytes=code, version=4))
