"""Compares `vblake.sdk` with AllenSDK itself, in an environment that has both.

`python with_allensdk.py BUCKET LAKE RESPONSES`, run by an interpreter with AllenSDK 2.16 and
brain_observatory_utilities 0.5.1. It prints each difference on a line, and how much it compared.
RESPONSES holds what the latter makes of AllenSDK's objects.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from allensdk.brain_observatory.behavior.behavior_ophys_experiment import (
    BehaviorOphysExperiment as SdkExperiment,
)
from allensdk.brain_observatory.behavior.behavior_project_cache import (
    VisualBehaviorOphysProjectCache as SdkCache,
)
from allensdk.brain_observatory.behavior.behavior_session import BehaviorSession as SdkSession
from brain_observatory_utilities.datasets.behavior.data_formatting import (
    get_annotated_stimulus_presentations,
)
from brain_observatory_utilities.datasets.optical_physiology.data_formatting import (
    get_stimulus_response_df,
)

from vblake.sdk import VisualBehaviorOphysProjectCache

DIFFERENT = {
    "neuropil_traces": "AllenSDK returns the demixed traces",
    "update_targeted_imaging_depth": "needs the Allen Institute's database",
}
LAST_BIT = {"filtered_events", "rolling_dprime"}
"""Columns whose last bit depends on NumPy's build."""

RESPONSES = {
    "dff": {"data_type": "dff"},
    "events": {"data_type": "events"},
    "filtered_events": {"data_type": "filtered_events"},
    "dff_30hz": {"data_type": "dff", "output_sampling_rate": 30, "time_window": [-1, 2]},
}


def differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """What differs between two values: types, order, shapes, values."""
    if type(ours).__name__ != type(theirs).__name__:
        yield f"{where}: {type(ours).__name__} instead of {type(theirs).__name__}"
    elif isinstance(theirs, pd.DataFrame):
        yield from _frames(ours, theirs, where)
    elif isinstance(theirs, dict):
        if list(ours) != list(theirs):
            yield f"{where}: keys {list(ours)} instead of {list(theirs)}"
        for key in theirs.keys() & ours.keys():
            yield from differences(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, tuple) or type(theirs).__name__ == "Coordinates":
        for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(a, b, f"{where}[{number}]")
    elif isinstance(theirs, np.ndarray):
        if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            yield f"{where}: {ours.dtype} {ours.shape} instead of {theirs.dtype} {theirs.shape}"
        elif not _equal(ours, theirs, loose=any(name in where for name in LAST_BIT)):
            yield f"{where}: other values"
    elif not _equal(np.asarray(ours), np.asarray(theirs), loose=True):
        yield f"{where}: {ours!r} instead of {theirs!r}"


def _equal(a: np.ndarray, b: np.ndarray, loose: bool) -> bool:
    if b.dtype.kind == "f":
        return np.allclose(a, b, rtol=1e-12 if loose else 0, atol=0, equal_nan=True)
    return np.array_equal(a, b)


def _frames(ours: pd.DataFrame, theirs: pd.DataFrame, where: str) -> Iterator[str]:
    if list(ours.columns) != list(theirs.columns):
        if sorted(ours.columns) != sorted(theirs.columns):
            yield f"{where}: columns {list(ours.columns)} instead of {list(theirs.columns)}"
        # AllenSDK takes the last columns of some tables in the order of a set.
        theirs = theirs[[c for c in ours.columns if c in theirs.columns]]
        ours = ours[list(theirs.columns)]
    simple = [c for c in theirs.columns if theirs[c].dtype != object]
    try:
        pd.testing.assert_frame_equal(
            ours[simple], theirs[simple], check_index_type="exact", rtol=1e-12, atol=0
        )
    except AssertionError as error:
        yield f"{where}: {' '.join(str(error).split())}"
        return
    for column in theirs.columns.difference(simple):
        for row, (a, b) in enumerate(zip(ours[column], theirs[column], strict=True)):
            if found := next(differences(a, b, f"{where}.{column} row {row}"), None):
                yield found
                break


def attributes(bucket: Path, cache: VisualBehaviorOphysProjectCache) -> Iterator[tuple[str, Any]]:
    """Each attribute and method without arguments of all files, from both."""
    for file in sorted(bucket.rglob("*.nwb")):
        number = int(file.stem.rpartition("_")[2])
        experiment = "ophys" in file.name
        theirs = (SdkExperiment if experiment else SdkSession).from_nwb_path(str(file))
        get = cache.get_behavior_ophys_experiment if experiment else cache.get_behavior_session
        ours = get(number)
        names = [n for n in theirs.list_data_attributes_and_methods() if n not in DIFFERENT]
        listed = [n for n in ours.list_data_attributes_and_methods() if n not in DIFFERENT]
        yield f"{number}: what is listed", (listed, names)
        for name in names:
            pair = [getattr(ours, name, None), getattr(theirs, name)]
            if name in ("get_cell_specimen_indices", "get_dff_traces"):
                ids = theirs.get_cell_specimen_ids()
                pair = [method(ids[~np.isnan(ids)]) for method in pair]
            elif callable(pair[1]):
                pair = [method() for method in pair]
            yield f"{number}.{name}", pair


def tables(bucket: Path, cache: VisualBehaviorOphysProjectCache) -> Iterator[tuple[str, Any]]:
    """The project tables from both, in the order of AllenSDK's rows."""
    theirs = SdkCache.from_local_cache(bucket, use_static_cache=True)
    for what in ("behavior_session", "ophys_session", "ophys_experiment", "ophys_cells"):
        name = f"get_{what}_table"
        expected = getattr(theirs, name)()
        yield name, (getattr(cache, name)().loc[expected.index], expected)
    for name in ("current_manifest", "latest_manifest_file", "list_manifest_file_names"):
        yield name, (getattr(cache, name)(), getattr(theirs, name)())


def responses(folder: Path, cache: VisualBehaviorOphysProjectCache) -> Iterator[tuple[str, Any]]:
    """What brain_observatory_utilities makes of our objects, and of AllenSDK's."""
    for plane in sorted(folder.iterdir()):
        experiment = cache.get_behavior_ophys_experiment(int(plane.name))
        made = {"annotated_presentations": get_annotated_stimulus_presentations(experiment)}
        for name, options in RESPONSES.items():
            made[f"stimulus_response_{name}"] = get_stimulus_response_df(experiment, **options)
        for name, found in made.items():
            expected = pd.read_parquet(plane / f"{name}.parquet")
            index = expected.columns[0]
            found = found.reset_index() if found.index.name == index else found
            for column in expected.columns:
                if not column.startswith("p_value"):  # of random frames
                    yield (
                        f"{plane.name}.{name}.{column}",
                        (
                            _comparable(found[column]),
                            _comparable(expected[column]),
                        ),
                    )


def _comparable(values: pd.Series) -> list[Any]:
    """Values of a column without types that Parquet cannot tell apart."""
    kept = [list(v) if isinstance(v, np.ndarray) else v for v in values]
    return [v if isinstance(v, list) else None if pd.isna(v) else v for v in kept]


def main() -> None:
    """Compares everything."""
    bucket, lake, folder = map(Path, sys.argv[1:])
    warnings.simplefilter("ignore")
    cache = VisualBehaviorOphysProjectCache.from_lake(lake)
    pairs = chain(attributes(bucket, cache), tables(bucket, cache), responses(folder, cache))
    compared = different = 0
    for name, (ours, theirs) in pairs:
        found = list(differences(ours, theirs, name))
        sys.stdout.writelines(f"{difference[:400]}\n" for difference in found)
        compared, different = compared + 1, different + bool(found)
    sys.stdout.write(f"{different} of {compared} differ\n")


if __name__ == "__main__":
    main()
