"""`vblake rules`."""

from __future__ import annotations

import json

from builders.cli import output

from schemas.checks import RULES, Rule


def test_rules() -> None:
    lines = output("rules").splitlines()
    assert lines[1].split() == ["rule", "level", "--allow", "protects"]
    named = [line.split()[:3] for line in lines[3:] if line[1:2].strip()]
    assert named[0] == ["file_identity", "error", "no"]
    assert ["frame_in_clock", "error", "yes"] in named
    assert ["image_not_in_set", "warning", "no"] in named
    assert ["Known", "defects:", "clock-goes-on."] in [line.split() for line in lines]


def test_rules_as_json() -> None:
    found = json.loads(output("rules", "--format", "json"))
    assert [r["rule"] for r in found] == list(RULES)
    assert found == json.loads(output("rules", "--json"))
    assert next(r for r in found if r["rule"] == Rule.ROW_PER_PARENT) == {
        "rule": "row_per_parent",
        "level": "error",
        "can_be_allowed": True,
        "protects": RULES[Rule.ROW_PER_PARENT].protects,
        "known": "",
        "known_defects": ["cells-without-events"],
    }
