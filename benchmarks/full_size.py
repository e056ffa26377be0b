"""Makes a lake with small tables at the dataset's full size, with invented values.

    python -m benchmarks.full_size --lake DIR

The project's own casts, writer and catalog write it: 4,782 sessions of 107 mice with 600 trials and
4,800 presentations each, so 2.9 and 23 million rows, about 250 MB. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.catalog.build import build_catalog
from pipelines.lake.marker import Marker, create_lake
from pipelines.lake.store import LocalStore
from pipelines.lake.writer import write_table
from schemas import TABLES, Table
from schemas.casts import Ragged, Values, conform
from schemas.layout import ROW_GROUP_ROWS, relative_path

RELEASE = "1.1.0"
MICE, SESSIONS = 107, 4782
TRIALS, PRESENTATIONS = 600, 4800

_LINES = ("Slc17a7-IRES2-Cre", "Sst-IRES-Cre", "Vip-IRES-Cre")
_LEVELS = ("Training", "Training", "Training", "Familiar", "Novel 1", "Novel >1")
_IMAGES = tuple(f"im{number:03d}".encode() for number in (61, 62, 63, 65, 66, 69, 77, 85))
_FLASH_S, _PERIOD_S, _FRAME_S = 0.25, 0.75, 1 / 60

Random = np.random.Generator


def session_ids(mice: int, sessions: int) -> list[np.ndarray[Any, Any]]:
    """Returns the session ids by mouse, ascending, interleaved between mice as in the release."""
    ids = 775_000_000 + 9_973 * np.arange(sessions, dtype=np.int64)
    return [ids[mouse::mice] for mouse in range(mice)]


def _sessions(by_mouse: list[np.ndarray[Any, Any]], random: Random) -> pa.Table:
    ids = np.concatenate(by_mouse)
    mouse = np.repeat(np.arange(len(by_mouse)), [len(i) for i in by_mouse])
    line = random.integers(0, len(_LINES), len(by_mouse))[mouse]
    level = random.integers(0, len(_LEVELS), len(ids))
    order = np.argsort(ids)
    values: dict[str, Values] = {
        "mouse_id": (400_000 + mouse)[order],
        "behavior_session_id": ids[order],
        "cre_line": [_LINES[i] for i in line[order]],
        "experience_level": [_LEVELS[i] for i in level[order]],
        "session_type": [f"OPHYS_{1 + i}_images_A" for i in level[order]],
        "date_of_acquisition": [
            f"2019-{1 + i % 12:02d}-{1 + i % 28:02d} 10:00:00" for i in range(len(ids))
        ],
    }
    table = TABLES["behavior_sessions"]
    return conform(
        table, {c.name: values.get(c.name, [None] * len(ids)) for c in table.stored}, len(ids)
    )


def _trials(ids: np.ndarray[Any, Any], random: Random) -> dict[str, Values]:
    n = len(ids) * TRIALS
    number = np.tile(np.arange(TRIALS), len(ids))
    start = 300 + number * 8.5 + random.normal(0, 0.4, n)
    kind = random.choice(6, n, p=(0.22, 0.18, 0.04, 0.06, 0.45, 0.05))
    hit, miss, false_alarm, correct_reject, aborted, free = (kind == k for k in range(6))
    go, catch, changed = hit | miss, false_alarm | correct_reject, hit | miss | free
    change = np.where(aborted, np.nan, start + 3 + random.normal(0, 0.3, n))
    latency = np.where(hit | false_alarm, random.gamma(4, 0.1, n), np.nan)
    licks = random.poisson(np.where(aborted, 1.5, np.where(hit | free, 7, 0.5)))
    offsets = np.concatenate(([0], np.cumsum(licks)))
    lick_times = np.repeat(np.where(np.isnan(change), start, change), licks) + random.exponential(
        0.8, offsets[-1]
    )
    image, after = random.integers(0, 8, n), random.integers(0, 8, n)
    names = np.array(_IMAGES, dtype=object)
    return {
        "behavior_session_id": np.repeat(ids, TRIALS),
        "trials_id": number,
        "start_time": start,
        "stop_time": start + 8,
        "initial_image_name": names[image],
        "change_image_name": names[np.where(changed, after, image)],
        "stimulus_change": changed,
        "change_time": change,
        "go": go,
        "catch": catch,
        "lick_times": Ragged(lick_times, offsets),
        "response_time": change + latency,
        "response_latency": latency,
        "reward_time": np.where(hit | free, change + 0.2, np.nan),
        "reward_volume": np.where(hit, 0.007, np.where(free, 0.005, 0.0)),
        "hit": hit,
        "false_alarm": false_alarm,
        "miss": miss,
        "correct_reject": correct_reject,
        "aborted": aborted,
        "auto_rewarded": free,
        "change_frame": np.where(aborted, -99, np.nan_to_num(change) * 60).astype(np.int64),
        "trial_length": np.full(n, 8.0),
    }


def _presentations(ids: np.ndarray[Any, Any], random: Random) -> dict[str, Values]:
    n = len(ids) * PRESENTATIONS
    number = np.tile(np.arange(PRESENTATIONS), len(ids))
    start = 300 + number * _PERIOD_S + np.cumsum(random.normal(0, 1e-5, n))
    stop = start + _FLASH_S + random.normal(0, 2e-4, n)
    frame = np.round(start / _FRAME_S).astype(np.int64)
    omitted = random.random(n) < 0.04
    change = (random.random(n) < 0.06) & ~omitted
    change[number == 0] = False
    image = np.cumsum(change * random.integers(1, 8, n)) % 8
    last = np.maximum.accumulate(np.where(change | (number == 0), np.arange(n), 0))
    shown = np.cumsum(~omitted)
    names = np.array((*_IMAGES, b"omitted"), dtype=object)
    block = np.where(number < PRESENTATIONS // 2, 0, 1)
    return {
        "behavior_session_id": np.repeat(ids, PRESENTATIONS),
        "stimulus_presentations_id": number,
        "stimulus_block": block,
        "stimulus_block_name": np.full(n, b"change_detection_behavior", dtype=object),
        "image_index": np.where(omitted, 8, image),
        "image_name": names[np.where(omitted, 8, image)],
        "image_set": np.full(
            n, b"Natural_Images_Lum_Matched_set_training_2017.07.14", dtype=object
        ),
        "index": number,
        "duration": np.where(omitted, _FLASH_S, stop - start),
        "start_time": start,
        "stop_time": stop,
        "start_frame": frame,
        "end_frame": np.where(omitted, np.nan, frame + 15),
        "is_change": change,
        "is_image_novel": np.where(omitted, np.nan, 0.0),
        "omitted": omitted,
        "flashes_since_change": shown - shown[last],
        "trials_id": np.minimum(number // 8, TRIALS - 1),
        "active": np.full(n, True),
        "is_sham_change": (random.random(n) < 0.01) & ~change,
        "stimulus_name": np.full(n, b"Natural_Images_Lum_Matched_set_training_2017", dtype=object),
    }


def _groups(table: Table, columns: dict[str, Values]) -> Iterator[pa.Table]:
    rows = len(columns["behavior_session_id"])  # pyright: ignore[reportArgumentType]
    whole = conform(table, columns, rows)
    for start in range(0, rows, ROW_GROUP_ROWS):
        yield whole.slice(start, ROW_GROUP_ROWS)


def make_lake(
    lake: Path, *, mice: int = MICE, sessions: int = SESSIONS, seed: int = 0
) -> dict[str, int]:
    """Writes the lake.

    Args:
        lake: new or empty folder.
        mice: number of mice.
        sessions: number of behaviour sessions over all mice.
        seed: seed of the random numbers.

    Returns:
        Rows by table.
    """
    store, random = LocalStore(lake.absolute()), np.random.default_rng(seed)
    create_lake(store, Marker(RELEASE))
    by_mouse = session_ids(mice, sessions)

    def write(table: Table, groups: Iterator[pa.Table], mouse: int | None) -> int:
        path = store.folder / relative_path(table, mouse_id=mouse)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_table(table, path, groups, release=RELEASE)

    counts = {
        "behavior_sessions": write(
            TABLES["behavior_sessions"], iter([_sessions(by_mouse, random)]), None
        )
    }
    for mouse, ids in enumerate(by_mouse):
        for name, make in (("trials", _trials), ("stimulus_presentations", _presentations)):
            table = TABLES[name]
            counts[name] = counts.get(name, 0) + write(
                table, _groups(table, make(ids, random)), 400_000 + mouse
            )
    build_catalog(store, RELEASE)
    return counts


def main() -> None:
    """Makes the lake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lake", type=Path, required=True, metavar="DIR", help="new or empty folder"
    )
    parser.add_argument("--mice", type=int, default=MICE, metavar="N", help="mice [%(default)s]")
    parser.add_argument(
        "--sessions",
        type=int,
        default=SESSIONS,
        metavar="N",
        help="sessions over all mice [%(default)s]",
    )
    options = parser.parse_args()
    started = time.perf_counter()
    counts = make_lake(options.lake, mice=options.mice, sessions=options.sessions)
    print(
        ", ".join(f"{rows:,} {name}" for name, rows in counts.items()),
        f"in {time.perf_counter() - started:.0f} s",
    )


if __name__ == "__main__":
    main()
