"""Eye tracking: where each column comes from, likely blinks, and what they blank."""

from __future__ import annotations

import math

import numpy as np
from builders.nwb import EYE, NAME, NAN, columns, eye_tracking, metadata, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.nwb.eye_tracking import likely_blink

BLANKED = (
    "cr_area",
    "eye_area",
    "pupil_area",
    "eye_width",
    "eye_height",
    "eye_phi",
    "pupil_width",
    "pupil_height",
    "pupil_phi",
)


def test_every_column_has_its_source() -> None:
    content = metadata() | eye_tracking([10.0, 11.0], [20.0, 21.0])
    assert columns("eye_tracking", content) == {
        "frame": [0, 1],
        "timestamps": [0.0, 1 / 30],
        "cr_area": [7.0, 7.0],
        "eye_area": [10.0, 11.0],
        "pupil_area": [20.0, 21.0],
        "likely_blink": [False, False],
        "pupil_area_raw": [20.0, 21.0],
        "cr_area_raw": [7.0, 7.0],
        "eye_area_raw": [10.0, 11.0],
        "cr_center_x": [300.0, 301.0],
        "cr_center_y": [310.0, 311.0],
        "cr_width": [320.0, 321.0],
        "cr_height": [330.0, 331.0],
        "cr_phi": [340.0, 341.0],
        "eye_center_x": [100.0, 101.0],
        "eye_center_y": [110.0, 111.0],
        "eye_width": [120.0, 121.0],
        "eye_height": [130.0, 131.0],
        "eye_phi": [140.0, 141.0],
        "pupil_center_x": [200.0, 201.0],
        "pupil_center_y": [210.0, 211.0],
        "pupil_width": [220.0, 221.0],
        "pupil_height": [230.0, 231.0],
        "pupil_phi": [240.0, 241.0],
    }


def test_a_blink_blanks_nine_columns_two_frames_around() -> None:
    content = metadata() | eye_tracking([10.0] * 8, [20.0, 20, 20, NAN, 20, 20, 20, 20])
    got = columns("eye_tracking", content)
    blink = [False, True, True, True, True, True, False, False]
    assert got["likely_blink"] == blink
    for name, values in got.items():
        missing = [v is None for v in values]
        if name in BLANKED:
            assert missing == blink, name
        elif name != "pupil_area_raw":
            assert not any(missing), name
    assert got["pupil_area_raw"] == [20.0, 20.0, 20.0, None, 20.0, 20.0, 20.0, 20.0]
    assert got["eye_width"] == [120.0, None, None, None, None, None, 126.0, 127.0]


def test_no_eye_tracking_is_no_error() -> None:
    assert columns("eye_tracking", metadata())["timestamps"] == []


def blinks_by_loop(eye: list[float], pupil: list[float]) -> list[bool]:
    """NWB_TABLES.md 2.9, row by row."""
    bad = [False] * len(eye)
    for areas in (eye, pupil):
        numbers = np.array([a for a in areas if not math.isnan(a)])
        for i, area in enumerate(areas):
            if math.isnan(area):
                bad[i] = True
                continue
            distance, deviation = abs(area - numbers.mean()), numbers.std()
            # The squares of very small differences vanish: 0 / 0 is no outlier, but anything else / 0 is one.
            bad[i] |= bool(distance / deviation > 3.0 if deviation else distance > 0)
    return [any(bad[max(i - 2, 0) : i + 3]) for i in range(len(bad))]


AREAS = st.one_of(st.just(NAN), st.sampled_from([10.0, 11.0, 12.0]), st.floats(0, 1e6))


@settings(deadline=None)
@given(st.lists(st.tuples(AREAS, AREAS), max_size=60))
def test_blinks_are_those_of_a_loop(areas: list[tuple[float, float]]) -> None:
    eye, pupil = [a for a, _ in areas], [b for _, b in areas]
    got = likely_blink(np.array(eye, dtype=float), np.array(pupil, dtype=float))
    assert got.tolist() == blinks_by_loop(eye, pupil)


def test_centres_need_two_coordinates() -> None:
    content = (
        metadata()
        | eye_tracking([10.0] * 2, [20.0] * 2)
        | {f"{EYE}/pupil_tracking/data": np.zeros((2, 3))}
    )
    assert problem("eye_tracking", content) == (
        f"file {NAME}, column {EYE}/pupil_tracking/data: a dataset has another shape; expected (2, 2); found (2, 3)"
    )
