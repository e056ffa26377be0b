"""The floor: a minimal conversion of one file, without checks and without meaning.

`python -m benchmarks.floor FILE OUT` reads with h5py exactly the datasets that the documented
tables need (without templates and tables that are ingested by name only, like `convert_file`),
transposes traces in blocks, filters events, and writes with pyarrow. It leaves out ids, NULLs,
derived columns and tables, order, units and errors. The encodings of `pipelines/lake/writer.py` are
repeated here so that only h5py, numpy, pyarrow and deflate are imported. Arrays are made from
buffers, because `pa.array` imports pandas.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

_STARTED = time.perf_counter()

import deflate  # noqa: E402 - the measured time includes the imports
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

_CELLS = 16
_FRAMES = 1024
_OPHYS = "processing/ophys"
_EYE = "acquisition/EyeTracking"


def _flat(values: Any) -> Any:
    """Returns a 1-D numeric array as Arrow, copying it only if it is strided or bool."""
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype),
        len(values),
        [None, pa.py_buffer(np.ascontiguousarray(values))],
    )


def _text(values: Any) -> Any:
    items: list[bytes] = values.tolist()
    offsets = np.zeros(len(items) + 1, np.int32)
    np.cumsum([len(v) for v in items], out=offsets[1:])
    return pa.Array.from_buffers(
        pa.string(), len(items), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(items))]
    )


def _lists(flat: Any, offsets: Any) -> Any:
    items = _flat(flat)
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, dtype=np.int32))]
    return pa.Array.from_buffers(pa.list_(items.type), len(offsets) - 1, buffers, children=[items])


def _arrow(values: Any) -> Any:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    return _text(values) if values.dtype.kind == "O" else _flat(values)


def _options(schema: Any, encoding: str) -> dict[str, Any]:
    def leaf(field: Any) -> str:
        return f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name

    # Name, leaf and type of the stored values of each column: list items for lists.
    items = [
        (f.name, leaf(f), f.type.value_type if pa.types.is_list(f.type) else f.type) for f in schema
    ]
    options: dict[str, Any] = {
        "compression": "zstd",
        "write_statistics": [n for n, at, _ in items if n == at],
    }
    if encoding == "sparse":
        return options | {"compression_level": 1, "use_dictionary": False}
    encodings = {at: "BYTE_STREAM_SPLIT" for _, at, item in items if pa.types.is_floating(item)}
    encodings |= {
        at: "DELTA_BINARY_PACKED" for _, at, item in items if item in (pa.int64(), pa.uint32())
    }
    words = [at for _, at, item in items if pa.types.is_string(item)] if encoding == "small" else []
    level = 3 if encoding == "small" else 1
    return options | {
        "compression_level": level,
        "use_dictionary": words or False,
        "column_encoding": encodings,
    }


class _Out:
    """Writes one Parquet file, a row group per `write`."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path, self._encoding = path, encoding
        self._writer: Any = None

    def write(self, columns: dict[str, Any]) -> None:
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, table.schema, **_options(table.schema, self._encoding)
            )
        self._writer.write_table(table, row_group_size=122_880)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _write(out: Path, name: str, columns: dict[str, Any], encoding: str = "small") -> None:
    file = _Out(out / f"{name}.parquet", encoding)
    file.write(columns)
    file.close()


def _gunzipped(dataset: Any) -> Any:
    """Reads a gzip-chunked dataset through libdeflate, column-major, like pipelines/nwb/hdf5."""
    offsets: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(lambda chunk: offsets.append(chunk.chunk_offset))
    out: Any = np.empty(dataset.shape, dtype=dataset.dtype, order="F")
    rows, columns = dataset.chunks
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    for row, column in offsets:
        _, raw = dataset.id.read_direct_chunk((row, column))
        chunk = np.frombuffer(deflate.zlib_decompress(raw, size), dtype=dataset.dtype).reshape(
            rows, columns
        )
        high, wide = min(rows, len(out) - row), min(columns, out.shape[1] - column)
        out[row : row + high, column : column + wide] = chunk[:high, :wide]
    return out


def _batches(data: Any, columns: Any) -> Any:
    """Yields columns of a (time, ROI) array as rows, a batch of cells at a time, and their
    positions.
    """
    for first in range(0, len(columns), _CELLS):
        part = slice(first, min(first + _CELLS, len(columns)))
        wanted = columns[part]
        adjacent = wanted[-1] - wanted[0] == len(wanted) - 1
        selection = slice(wanted[0], wanted[-1] + 1) if adjacent else wanted
        out = np.empty((len(wanted), len(data)), dtype=data.dtype)
        for start in range(0, len(data), _FRAMES):
            out[:, start : start + _FRAMES] = data[start : start + _FRAMES, selection].T
        yield part, out


def _matrix(rows: Any) -> Any:
    return _lists(rows.reshape(-1), np.arange(len(rows) + 1) * rows.shape[1])


def _trials(h5: Any, out: Path) -> None:
    trials = h5["intervals/trials"]
    ignored = ("tags", "timeseries", "lick_events", "lick_times")
    names = [n for n in trials.attrs["colnames"] if n not in ignored]
    columns: dict[str, Any] = {"trials_id": trials["id"][()], **{n: trials[n][()] for n in names}}
    licks = trials["lick_times"][()]
    if licks.dtype.kind == "O":  # the release stores one empty text where there is no lick
        licks = np.empty(0)
    columns["lick_times"] = _lists(licks, np.append(0, trials["lick_times_index"][()]))
    _write(out, "trials", columns)


def _presentations(h5: Any, out: Path) -> None:
    groups = [h5["intervals"][n] for n in h5["intervals"] if n.endswith("_presentations")]
    ignored = ("tags", "timeseries", "is_change", "flashes_since_change")
    wanted = dict.fromkeys(n for g in groups for n in g.attrs["colnames"] if n not in ignored)
    order = np.argsort(np.concatenate([g["start_time"][()] for g in groups]), kind="stable")
    presentations: dict[str, Any] = {}
    for name in wanted:
        text = next(g[name] for g in groups if name in g).dtype.kind == "O"
        empty: Any = b"" if text else np.nan
        parts = [
            g[name][()]
            if name in g
            else np.full(len(g["id"]), empty, object if text else np.float64)
            for g in groups
        ]
        presentations[name] = np.concatenate(parts)[order]
    _write(out, "stimulus_presentations", presentations)


def _eye(h5: Any, out: Path) -> None:
    eye: dict[str, Any] = {"timestamps": h5[f"{_EYE}/eye_tracking/timestamps"][()]}
    for series in ("eye_tracking", "pupil_tracking", "corneal_reflection_tracking"):
        group = h5[f"{_EYE}/{series}"]
        centre, area = group["data"][()], group["area_raw"][()]
        # The table has two areas of each, with and without blinks.
        eye |= {
            f"{series}_x": centre[:, 0],
            f"{series}_y": centre[:, 1],
            f"{series}_area": area,
            f"{series}_area_raw": area,
        }
        eye |= {f"{series}_{n}": group[n][()] for n in ("width", "height", "angle")}
    _write(out, "eye_tracking", eye, "signal")


def _behavior(h5: Any, out: Path) -> None:
    _trials(h5, out)
    _presentations(h5, out)
    if "licking" in h5["processing"]:
        licks = h5["processing/licking/licks"]
        _write(out, "licks", {"timestamps": licks["timestamps"][()], "frame": licks["data"][()]})
    if "rewards" in h5["processing"]:
        rewards = h5["processing/rewards"]
        columns = {
            "volume": rewards["volume/data"][()],
            "timestamps": rewards["autorewarded/timestamps"][()],
            "autorewarded": rewards["autorewarded/data"][()],
        }
        _write(out, "rewards", columns)
    for table, series in (("running_speed", "speed"), ("raw_running_speed", "speed_unfiltered")):
        group = h5[f"processing/running/{series}"]
        columns = {"timestamps": group["timestamps"][()], "speed": group["data"][()]}
        _write(out, table, columns, "signal")
    _clock(h5["processing/stimulus/timestamps/timestamps"][()], out, "stimulus_timestamps")
    if _EYE in h5:
        _eye(h5, out)


def _clock(times: Any, out: Path, name: str) -> None:
    _write(out, name, {"timestamps": _lists(times, np.array([0, len(times)]))}, "signal")


def _weights(rate: float) -> Any:
    scale = (2.0 / 31.0) * rate
    weights = np.exp(-((np.arange(20) / scale) ** 2) / 2)
    return weights / weights.sum()


def _cells(h5: Any, out: Path) -> tuple[Any, Any]:
    """Writes the cells; returns their ids and the positions of the valid ones."""
    cells = h5[f"{_OPHYS}/image_segmentation/cell_specimen_table"]
    plain = [
        n for n in cells.attrs["colnames"] if cells[n].ndim == 1 and cells[n].dtype.kind != "O"
    ]
    columns: dict[str, Any] = {"id": cells["id"][()], **{n: cells[n][()] for n in plain}}
    pixels = [
        np.flatnonzero(cells["image_mask"][i]).astype(np.uint32) for i in range(len(columns["id"]))
    ]
    ends = np.cumsum([len(p) for p in pixels])
    columns["roi_mask"] = _lists(np.concatenate(pixels), np.append(0, ends))
    _write(out, "cell_specimens", columns)
    return columns["id"], np.flatnonzero(columns["valid_roi"])


def _events(h5: Any, out: Path, ids: Any, valid: Any) -> None:
    detection = h5[f"{_OPHYS}/event_detection"]
    events = _gunzipped(detection["data"])
    noise, lambdas = detection["noise_stds"][()], detection["lambdas"][()]
    planes = [g for g in h5["general/optophysiology"].values() if "imaging_rate" in g]
    weights = _weights(float(planes[0]["imaging_rate"][()]))
    rois = detection["rois"][()]
    chosen = np.flatnonzero(np.isin(rois, valid))
    file = _Out(out / "events.parquet", "sparse")
    for part, traces in _batches(events, chosen):
        filtered = np.empty_like(traces)
        for row, trace in zip(filtered, traces, strict=True):
            row[:] = np.convolve(trace, weights)[: len(trace)]
        file.write(
            {
                "cell_roi_id": ids[rois[chosen[part]]],
                "events": _matrix(traces),
                "filtered_events": _matrix(filtered),
                "lambda": lambdas[chosen[part]],
                "noise_std": noise[chosen[part]],
            }
        )
    file.close()


def _ophys(h5: Any, out: Path) -> None:
    ids, valid = _cells(h5, out)
    _clock(h5[f"{_OPHYS}/dff/traces/timestamps"][()], out, "ophys_timestamps")
    for interface in ("dff", "corrected_fluorescence"):
        data = h5[f"{_OPHYS}/{interface}/traces/data"][()]
        file = _Out(out / f"{interface}_traces.parquet", "signal")
        for part, traces in _batches(data, valid):
            file.write({"cell_roi_id": ids[valid[part]], "trace": _matrix(traces)})
        file.close()
        del data
    _events(h5, out, ids, valid)
    motion = {
        axis: h5[f"{_OPHYS}/ophys_motion_correction_{axis}/data"][()].astype(np.float64)
        for axis in "xy"
    }
    _write(out, "motion_correction", motion, "sparse")
    names = ("average_image", "max_projection", "max_projection")
    images = [h5[f"{_OPHYS}/images/{n}"][()].reshape(-1) for n in names]
    offsets = np.append(0, np.cumsum([len(i) for i in images]))
    pixels = _lists(np.concatenate(images).astype(np.float32), offsets)
    _write(out, "projections", {"pixels": pixels})


def convert(file: Path, out: Path) -> int:
    """Writes the tables of one NWB file, a Parquet file each.

    Args:
        file: the NWB file.
        out: folder; made if it is missing.

    Returns:
        Bytes of Parquet.
    """
    out.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "r") as h5:
        _behavior(h5, out)
        if _OPHYS in h5:
            _ophys(h5, out)
    return sum(p.stat().st_size for p in out.glob("*.parquet"))


def main() -> None:
    """Converts one file."""
    parser = argparse.ArgumentParser(
        description="Converts one NWB file at the floor: h5py, numpy, pyarrow, no checks."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="NWB file")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the Parquet files")
    options = parser.parse_args()
    imported = time.perf_counter() - _STARTED
    size = convert(options.file, options.out)
    print(
        json.dumps(
            {
                "import_s": imported,
                "convert_s": time.perf_counter() - _STARTED - imported,
                "parquet_mb": size / 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
