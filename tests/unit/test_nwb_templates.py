"""Stimulus templates, and the digests that tell pictures apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders.nwb import (
    NAME,
    NAN,
    TEMPLATE,
    Content,
    columns,
    metadata,
    problem,
    recording,
    templates,
)

from pipelines.nwb.templates import image_digests

AT = f"/stimulus/templates/{TEMPLATE}"


def test_images_come_by_name() -> None:
    got = columns("stimulus_templates", metadata() | templates())
    assert got["image_name"] == ["im065", "im077"]
    assert got["height"] == [2, 2]
    assert got["width"] == [3, 3]
    assert got["warped"] == [[6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
    assert got["unwarped"][0] == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    assert np.array_equal(got["unwarped"][1], [0.5, 1, 2, 3, 4, NAN], equal_nan=True)


def test_no_templates_and_movies() -> None:
    for content in (metadata(), metadata() | templates("Natural_Movie_One")):
        assert columns("stimulus_templates", content)["image_name"] == []
        assert image_digests(recording(content)) == {}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (
            {"control_description": ["im065"]},
            "/data: lengths disagree; expected 1 rows; found 2 rows",
        ),
        (
            {"unwarped": np.zeros((2, 3, 2))},
            ": warped and unwarped images differ in size; expected (2, 2, 3); found (2, 3, 2)",
        ),
    ],
)
def test_templates_that_do_not_fit(changed: dict[str, Any], text: str) -> None:
    content = metadata() | templates() | {f"{AT}/{name}": value for name, value in changed.items()}
    assert problem("stimulus_templates", content) == f"file {NAME}, column {AT}{text}"


def digests(**changed: Any) -> dict[str, str]:
    content: Content = (
        metadata() | templates() | {f"{AT}/{name}": value for name, value in changed.items()}
    )
    return image_digests(recording(content))


def test_digests_tell_pictures_apart() -> None:
    same, base = digests(), templates()
    assert list(same) == ["im077", "im065"]
    assert same == digests()
    for changed in (
        {"control_description": ["im078", "im066"]},
        {"data": base[f"{AT}/data"] + 1},
        {"unwarped": np.zeros((2, 2, 3))},
        {"data": np.zeros((2, 3, 3), dtype=np.uint8)},
    ):
        assert not set(digests(**changed).values()) & set(same.values())
    other = image_digests(recording(metadata() | templates("another set")))
    assert not set(other.values()) & set(same.values())


def test_a_digest_does_not_depend_on_the_other_images_of_a_file() -> None:
    base = templates()
    alone = {name: base[f"{AT}/{name}"][1:] for name in ("data", "unwarped", "control_description")}
    assert digests(**alone) == {"im065": digests()["im065"]}
