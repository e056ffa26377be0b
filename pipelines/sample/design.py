"""The plan: mice, sessions, imaging planes, their ids, and the numbers that set a file's size.

A mouse's plan depends only on its number, and its random draws on (seed, mouse). So adding mice
never changes the earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

RigKind = Literal["behavior", "scientifica", "mesoscope"]
IdFlavour = Literal["all matched", "minus one", "nan"]


@dataclass(frozen=True)
class Scale:
    """Lengths and shapes of the tiny and the real sample. Frames are stimulus frames at 60 Hz."""

    name: Literal["tiny", "real"]
    gray_frames: int
    flashes: int
    training_flashes: int
    autoreward_flashes: int
    movie_repeats: int
    movie_frames: int
    tail_frames: int
    post_change_flashes: int
    auto_rewarded_trials: int
    eye_rates: dict[RigKind, float]
    cells: dict[RigKind, int]
    fov: dict[RigKind, tuple[int, int]]
    cell_radius: tuple[float, float]
    template_shape: tuple[int, int]


# Real: the frame counts of a 75-minute session (5 min gray, 4,790 flashes, 5 min gray, 10 x 30 s
# movie). Tiny: as many flashes as keep a Scientifica file, the largest kind, under 2 MB. Five
# auto-rewarded trials would leave a tiny session no other outcome to analyse, and a trial's tail is
# shortened from five flashes for the same reason.
TINY = Scale(
    "tiny",
    gray_frames=150,
    flashes=120,
    training_flashes=200,
    autoreward_flashes=80,
    movie_repeats=2,
    movie_frames=20,
    tail_frames=24,
    post_change_flashes=3,
    auto_rewarded_trials=2,
    eye_rates={"behavior": 15.0, "scientifica": 7.5, "mesoscope": 15.0},
    cells={"behavior": 0, "scientifica": 5, "mesoscope": 9},
    fov={"behavior": (0, 0), "scientifica": (64, 56), "mesoscope": (64, 64)},
    cell_radius=(1.6, 4.0),
    template_shape=(20, 32),
)
REAL = Scale(
    "real",
    gray_frames=18_000,
    flashes=4_790,
    training_flashes=4_790,
    autoreward_flashes=1_200,
    movie_repeats=10,
    movie_frames=900,
    tail_frames=499,
    post_change_flashes=5,
    auto_rewarded_trials=5,
    eye_rates={"behavior": 30.0, "scientifica": 30.0, "mesoscope": 60.0},
    cells={"behavior": 0, "scientifica": 93, "mesoscope": 60},
    fov={"behavior": (0, 0), "scientifica": (512, 447), "mesoscope": (512, 512)},
    cell_radius=(5.0, 11.0),
    template_shape=(1200, 1920),
)
SCALES: dict[str, Scale] = {"tiny": TINY, "real": REAL}

REPORTER_GENOTYPE = {
    "Slc17a7-IRES2-Cre": (
        "Ai93(TITL-GCaMP6f)",
        "Slc17a7-IRES2-Cre/wt;Camk2a-tTA/wt;Ai93(TITL-GCaMP6f)/wt",
    ),
    "Vip-IRES-Cre": ("Ai148(TIT2L-GC6f-ICL-tTA2)", "Vip-IRES-Cre/wt;Ai148(TIT2L-GC6f-ICL-tTA2)/wt"),
    "Sst-IRES-Cre": ("Ai148(TIT2L-GC6f-ICL-tTA2)", "Sst-IRES-Cre/wt;Ai148(TIT2L-GC6f-ICL-tTA2)/wt"),
}


@dataclass(frozen=True)
class Mouse:
    """One animal: its number (from 1), ids and values of its CSV rows and `/general/subject`."""

    number: int
    mouse_id: int
    cre_line: str
    driver_lines: tuple[str, ...]
    reporter_line: str
    genotype: str
    sex: str
    born: datetime
    project_code: str
    skill: float


@dataclass(frozen=True)
class Container:
    """One field of view, revisited over sessions. Matched cells keep their cell_specimen_id."""

    container_id: int
    number: int
    structure: str
    depth: int
    plane_group: int | None


@dataclass(frozen=True)
class Plane:
    """One ophys experiment: a container imaged in a session."""

    experiment_id: int
    container: Container
    imaging_depth: int
    id_flavour: IdFlavour
    invalid_rois: int
    events_subset: bool


@dataclass(frozen=True)
class Session:
    """One behaviour session; `planes` is empty if there was no imaging."""

    mouse: Mouse
    number: int
    behavior_session_id: int
    ophys_session_id: int | None
    session_type: str
    rig: RigKind
    equipment: str
    acquired: datetime
    has_eye: bool
    planes: tuple[Plane, ...]
    prior_session_type: int
    prior_image_set: int | None
    prior_omissions: int

    @property
    def session_number(self) -> int | None:
        """The digit after `OPHYS_`, None for training."""
        return int(self.session_type[6]) if self.session_type.startswith("OPHYS_") else None

    @property
    def passive(self) -> bool:
        """Whether the lick spout was withdrawn and the task replayed."""
        return self.session_number in (2, 5)

    @property
    def image_set(self) -> str:
        """`images_A`, `images_B` or `gratings`."""
        words = self.session_type.split("_")
        return f"images_{words[3]}" if words[2] == "images" else words[2]

    @property
    def has_movie(self) -> bool:
        """Whether gray screens and a movie follow the task: in ophys stages and TRAINING_5."""
        return self.session_type.startswith(("OPHYS_", "TRAINING_5"))

    @property
    def has_omissions(self) -> bool:
        """Whether flashes may be left out: in ophys stages other than habituation."""
        return self.session_number not in (None, 0)

    @property
    def experience_level(self) -> str:
        """`Training`, `Familiar`, `Novel 1` or `Novel >1`, by the release's rule."""
        number = self.session_number
        if number is None:
            return "Training"
        if number <= 3:
            return "Familiar"
        return "Novel >1" if self.prior_image_set else "Novel 1"

    @property
    def age_in_days(self) -> int:
        """Age on the day of the session."""
        return (self.acquired - self.mouse.born).days


# One line per session: type, rig, containers imaged, eye tracking, written at real scale. Mouse 1
# is imaged on both microscopes, which no real mouse was, so that a sample of one mouse has every
# kind of file.
_PlanRow = tuple[str, RigKind, tuple[int, ...], bool, bool]
_PLANS: tuple[tuple[str, str, tuple[_PlanRow, ...]], ...] = (
    (
        "Slc17a7-IRES2-Cre",
        "VisualBehaviorMultiscope",
        (
            ("TRAINING_0_gratings_autorewards_15min", "behavior", (), False, False),
            ("TRAINING_5_images_A_handoff_ready", "behavior", (), False, True),
            ("OPHYS_1_images_A", "mesoscope", (0, 1, 2), True, False),
            ("OPHYS_2_images_A_passive", "mesoscope", (0,), True, False),
            ("OPHYS_3_images_A", "scientifica", (3,), False, True),
            ("OPHYS_4_images_B", "mesoscope", (0, 1), True, True),
        ),
    ),
    (
        "Vip-IRES-Cre",
        "VisualBehavior",
        (
            ("TRAINING_1_gratings", "behavior", (), False, False),
            ("TRAINING_3_images_A_10uL_reward", "behavior", (), False, True),
            ("OPHYS_0_images_A_habituation", "scientifica", (), True, False),
            ("OPHYS_1_images_A", "scientifica", (0,), True, True),
            ("OPHYS_4_images_B", "scientifica", (0,), True, False),
            ("OPHYS_6_images_B", "scientifica", (0,), False, False),
        ),
    ),
    (
        "Sst-IRES-Cre",
        "VisualBehavior",
        (
            ("TRAINING_2_gratings_flashed", "behavior", (), False, False),
            ("TRAINING_5_images_A_handoff_ready", "behavior", (), False, False),
            ("OPHYS_1_images_A", "scientifica", (0,), True, False),
            ("OPHYS_2_images_A_passive", "scientifica", (0,), True, True),
            ("OPHYS_4_images_B", "scientifica", (0,), True, False),
            ("OPHYS_6_images_B", "scientifica", (0,), True, False),
        ),
    ),
    (
        "Slc17a7-IRES2-Cre",
        "VisualBehavior",
        (
            ("TRAINING_1_gratings", "behavior", (), False, False),
            ("OPHYS_1_images_A", "scientifica", (0,), True, True),
            ("OPHYS_4_images_B", "scientifica", (0,), True, False),
            ("OPHYS_5_images_B_passive", "scientifica", (0,), False, False),
            ("OPHYS_6_images_B", "scientifica", (0,), True, False),
        ),
    ),
)
_STRUCTURE_DEPTH = (("VISp", 175, 0), ("VISp", 275, 0), ("VISl", 175, 1), ("VISp", 375, None))
# imaging_plane_group_count of a mesoscope session, whose planes are recorded in groups.
_IMAGED_PLANES = 4


def rng_for(seed: int, *key: int) -> np.random.Generator:
    """A generator for each (seed, mouse, session, stream), so that no draw shifts another."""
    return np.random.default_rng([seed, *key])


def _plan_mouse(number: int, seed: int) -> tuple[Mouse, tuple[_PlanRow, ...]]:
    cre, project, rows = _PLANS[(number - 1) % len(_PLANS)]
    rng = rng_for(seed, number)
    reporter, genotype = REPORTER_GENOTYPE[cre]
    drivers = (cre, "Camk2a-tTA") if "Camk2a" in genotype else (cre,)
    born = datetime(2018, 9, 3, tzinfo=UTC) + timedelta(
        days=int(rng.integers(0, 300)) + 11 * number
    )
    mouse = Mouse(
        number,
        400_000 + 1_000 * number + int(rng.integers(0, 1_000)),
        cre,
        drivers,
        reporter,
        genotype,
        "MF"[int(rng.integers(0, 2))],
        born,
        project,
        float(rng.normal(0.0, 0.03)),
    )
    return mouse, rows


def _equipment(rig: RigKind, rng: np.random.Generator) -> str:
    if rig == "mesoscope":
        return "MESO.1"
    return (
        f"CAM2P.{rng.integers(3, 6)}"
        if rig == "scientifica"
        else f"BEH.{rng.choice(['B', 'D'])}-Box{rng.integers(1, 7)}"
    )


def plan_sessions(mice: int, seed: int, scale: Scale) -> list[Session]:
    """Returns all sessions of mice 1..`mice` in order of mouse and date.

    At real scale most sessions are left out and a session keeps one plane. Prior exposures still
    count the omitted sessions, as if they had happened without being released.
    """
    sessions: list[Session] = []
    for number in range(1, mice + 1):
        mouse, rows = _plan_mouse(number, seed)
        rng = rng_for(seed, number, 1)
        day = mouse.born + timedelta(days=int(rng.integers(75, 95)))
        types: list[str] = []
        sets: list[str] = []
        omission_sessions = 0
        for index, (session_type, rig, containers, has_eye, at_real_scale) in enumerate(rows):
            # Days of plain training lie between the stages; the plan has the last of each stage.
            day += timedelta(
                days=int(rng.integers(1, 4)) if rig != "behavior" else int(rng.integers(4, 9))
            )
            clock = timedelta(
                hours=int(rng.integers(8, 16)),
                minutes=int(rng.integers(0, 60)),
                seconds=int(rng.integers(0, 60)),
            )
            # The release mixes dates with and without a fraction of a second; so does the sample.
            fraction = timedelta(milliseconds=0 if index == 1 else int(rng.integers(1, 1000)))
            slot = 1_000_000 * number + 20_000 * index
            planes = tuple(
                _plane(number, index, position, container, slot, rng)
                for position, container in enumerate(
                    containers[:1] if scale.name == "real" else containers
                )
            )
            session = Session(
                mouse,
                index,
                800_000_000 + slot + int(rng.integers(0, 4_000)),
                800_004_000 + slot + int(rng.integers(0, 4_000)) if containers else None,
                session_type,
                rig,
                _equipment(rig, rng),
                day + clock + fraction,
                # Eye tracking is part of a real file's size, so all have it at real scale.
                has_eye or (scale.name == "real" and bool(containers)),
                planes,
                types.count(session_type),
                None,
                omission_sessions,
            )
            if session.image_set != "gratings":
                session = replace(session, prior_image_set=sets.count(session.image_set))
                sets.append(session.image_set)
            types.append(session_type)
            omission_sessions += session.has_omissions
            if scale.name == "tiny" or at_real_scale:
                sessions.append(session)
    return sessions


def _plane(
    number: int, index: int, position: int, container: int, slot: int, rng: np.random.Generator
) -> Plane:
    structure, depth, group = _STRUCTURE_DEPTH[container if number % len(_PLANS) == 1 else 3]
    flavours: tuple[IdFlavour, ...] = ("all matched", "nan", "minus one")
    return Plane(
        800_008_000 + slot + 100 * position + int(rng.integers(0, 100)),
        Container(
            600_000_000 + 1_000_000 * number + 1_000 * container + 7 * number,
            container,
            structure,
            depth,
            group,
        ),
        depth + int(rng.integers(-4, 5)),
        flavours[(number + index + position) % 3],
        invalid_rois=(1, 0, 2)[(index + position) % 3],
        # One session of mice 1, 5, ... has events for some of its cells only.
        events_subset=number % len(_PLANS) == 1 and index == 2 and position == 1,
    )


def plane_groups(session: Session) -> int:
    """`imaging_plane_group_count`: 0 where one plane was imaged at a time."""
    return _IMAGED_PLANES if session.rig == "mesoscope" and session.planes else 0
