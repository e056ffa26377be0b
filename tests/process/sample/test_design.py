"""The plan of mice, sessions and planes, and how the simulated mice behave."""

from __future__ import annotations

from pipelines.sample.design import REAL, TINY, plan_sessions


def test_ids_are_unique_across_the_dataset() -> None:
    sessions = plan_sessions(99, 0, TINY)
    nine = [s.behavior_session_id for s in sessions] + [
        s.ophys_session_id for s in sessions if s.ophys_session_id
    ]
    nine += [plane.experiment_id for s in sessions for plane in s.planes]
    nine += list({plane.container.container_id for s in sessions for plane in s.planes})
    assert len(set(nine)) == len(nine)
    assert {len(str(number)) for number in nine} == {9}
    mice = {s.mouse.number: s.mouse.mouse_id for s in sessions}
    assert len(set(mice.values())) == 99


def test_four_mice_cover_every_stage() -> None:
    sessions = plan_sessions(4, 0, TINY)
    stages = {"_".join(s.session_type.split("_")[:2]) for s in sessions}
    assert stages >= {f"TRAINING_{i}" for i in (0, 1, 2, 3, 5)} | {
        f"OPHYS_{i}" for i in (0, 1, 2, 4, 6)
    }
    assert {s.experience_level for s in sessions} == {"Training", "Familiar", "Novel 1", "Novel >1"}
    assert {s.mouse.cre_line for s in sessions} == {
        "Slc17a7-IRES2-Cre",
        "Vip-IRES-Cre",
        "Sst-IRES-Cre",
    }
    assert {s.has_eye for s in sessions if s.planes} == {True, False}
    assert plan_sessions(2, 0, TINY) == sessions[: len(plan_sessions(2, 0, TINY))]


def test_real_scale_has_one_of_each_kind_with_the_first_mouse() -> None:
    sessions = plan_sessions(1, 0, REAL)
    assert [(s.rig, len(s.planes)) for s in sessions] == [
        ("behavior", 0),
        ("scientifica", 1),
        ("mesoscope", 1),
    ]
    assert (REAL.fov["scientifica"], REAL.template_shape) == ((512, 447), (1200, 1920))
