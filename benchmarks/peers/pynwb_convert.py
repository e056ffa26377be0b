"""Converts a file as a competent user of pynwb would: series and tables to Parquet, with pandas.

`python pynwb_convert.py FILE OUT`. No semantics: no blinks, NULLs, derived columns or ids, and one
wide table per trace matrix. Leaves out stimulus templates, demixed and neuropil traces, like
vblake's default.
"""

import json
import sys
import time
from pathlib import Path

_STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from pynwb import NWBHDF5IO, TimeSeries  # noqa: E402

_REFERENCES = ("timeseries", "tags")


def _wide(series: TimeSeries) -> pd.DataFrame:
    data = np.asarray(series.data[:])
    frame = pd.DataFrame(data if data.ndim == 2 else data.reshape(-1, 1))
    frame.columns = [f"value_{i}" for i in range(frame.shape[1])]
    frame.insert(0, "timestamps", np.asarray(series.timestamps[:]))
    return frame


def _tables(nwb) -> "dict[str, pd.DataFrame]":
    tables = {"trials": nwb.trials.to_dataframe(exclude=set(_REFERENCES))}
    shown = [
        t.to_dataframe(exclude=set(_REFERENCES))
        for n, t in nwb.intervals.items()
        if n.endswith("_presentations")
    ]
    tables["stimulus_presentations"] = pd.concat(shown, ignore_index=True).sort_values(
        "start_time", kind="stable"
    )
    modules = nwb.processing
    if "licking" in modules:
        tables["licks"] = _wide(modules["licking"]["licks"])
    if "rewards" in modules:
        tables["rewards"] = _wide(modules["rewards"]["volume"]).assign(
            autorewarded=modules["rewards"]["autorewarded"].data[:]
        )
    tables["running_speed"] = _wide(modules["running"]["speed"])
    tables["raw_running_speed"] = _wide(modules["running"]["speed_unfiltered"])
    tables["stimulus_timestamps"] = pd.DataFrame(
        {"timestamps": modules["stimulus"]["timestamps"].timestamps[:]}
    )
    if "EyeTracking" in nwb.acquisition:
        eye = nwb.acquisition["EyeTracking"]
        columns = {"timestamps": eye.eye_tracking.timestamps[:]}
        for name in ("eye_tracking", "pupil_tracking", "corneal_reflection_tracking"):
            series = getattr(eye, name)
            centre = series.data[:]
            columns.update({f"{name}_x": centre[:, 0], f"{name}_y": centre[:, 1]})
            columns.update(
                {
                    f"{name}_{n}": getattr(series, n)[:]
                    for n in ("area", "area_raw", "width", "height", "angle")
                }
            )
        tables["eye_tracking"] = pd.DataFrame(columns)
    return tables


def _imaging(nwb, out: Path) -> None:
    ophys = nwb.processing["ophys"]
    cells = ophys["image_segmentation"]["cell_specimen_table"]
    frame = cells.to_dataframe(exclude={"image_mask"})
    frame["image_mask"] = [np.flatnonzero(cells["image_mask"][i]) for i in range(len(cells))]
    frame.to_parquet(out / "cell_specimens.parquet")
    _wide(ophys["dff"].roi_response_series["traces"]).to_parquet(out / "dff_traces.parquet")
    _wide(ophys["corrected_fluorescence"].roi_response_series["traces"]).to_parquet(
        out / "corrected_fluorescence_traces.parquet"
    )
    _wide(ophys["event_detection"]).to_parquet(out / "events.parquet")
    motion = {axis: ophys[f"ophys_motion_correction_{axis}"].data[:] for axis in "xy"}
    pd.DataFrame(motion).to_parquet(out / "motion_correction.parquet")
    for name, image in ophys["images"].images.items():
        pd.DataFrame({"pixels": image.data[:].reshape(-1)}).to_parquet(
            out / f"projection_{name}.parquet"
        )


def main() -> None:
    """Runs the script."""
    file, out = Path(sys.argv[1]), Path(sys.argv[2])
    imported = time.perf_counter() - _STARTED
    out.mkdir(parents=True, exist_ok=True)
    with NWBHDF5IO(str(file), "r", load_namespaces=True) as io:
        nwb = io.read()
        for name, frame in _tables(nwb).items():
            frame.to_parquet(out / f"{name}.parquet")
        if "ophys" in nwb.processing:
            _imaging(nwb, out)
    size = sum(p.stat().st_size for p in out.glob("*.parquet"))
    print(
        json.dumps(
            {
                "import_s": imported,
                "tables": len(list(out.glob("*.parquet"))),
                "parquet_mb": size / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
