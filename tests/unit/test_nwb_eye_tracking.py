"""Eye tracking: likely blinks, and what they blank."""

from __future__ import annotations

import math

import numpy as np
from builders.nwb import NAME, NAN, RIG, columns, eye_tracking, metadata, problem, rig_geometry
from hypothesis import given
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
    """The rules of docs/formulas.md, row by row."""
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


@given(st.lists(st.tuples(AREAS, AREAS), max_size=60))
def test_blinks_are_those_of_a_loop(areas: list[tuple[float, float]]) -> None:
    eye, pupil = [a for a, _ in areas], [b for _, b in areas]
    got = likely_blink(np.array(eye, dtype=float), np.array(pupil, dtype=float))
    assert got.tolist() == blinks_by_loop(eye, pupil)


def test_the_rig_geometry_has_the_names_of_the_released_reader() -> None:
    assert columns("eye_tracking_rig_geometry", metadata() | rig_geometry()) == {
        "camera_position_mm": [[130.0, 0.0, 0.0]],
        "camera_rotation_deg": [[0.0, 0.0, 13.1]],
        "equipment": ["MESO.1"],
        "led_position": [[265.1, -39.3, 1.0]],
        "monitor_position_mm": [[118.6, 86.2, 31.6]],
        "monitor_rotation_deg": [[0.0, 0.0, 0.5]],
    }


def test_no_rig_geometry_is_no_error() -> None:
    assert columns("eye_tracking_rig_geometry", metadata())["equipment"] == []


def test_a_place_needs_three_coordinates() -> None:
    content = metadata() | rig_geometry() | {f"{RIG}/led_position": np.zeros(2)}
    assert problem("eye_tracking_rig_geometry", content) == (
        f"file {NAME}, column {RIG}/led_position: lengths disagree; expected 3 rows; found 2 rows"
    )
