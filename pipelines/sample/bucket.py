"""The bucket: every session's files, the project tables and the manifest, in this order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from pipelines.sample import SampleSummary
from pipelines.sample.design import SCALES, Plane, Scale, Session, plan_sessions
from pipelines.sample.manifest import PROJECT, write_manifest
from pipelines.sample.physiology import make_rois, projections, record
from pipelines.sample.project_tables import Experiment, targeted_depths, trial_counts, write_tables
from pipelines.sample.simulate import SessionData, simulate_session
from pipelines.sample.writer import write_behavior_file, write_experiment_file

Progress = Callable[[str, int, int], None]


def is_legacy(release: str) -> bool:
    """Whether a release predates 1.1.0, which changed the layout.

    Raises:
        ValueError: not of the form X.Y.Z.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", release):
        raise ValueError(f"release must be X.Y.Z, such as 1.1.0; got {release!r}")
    return tuple(map(int, release.split("."))) < (1, 1, 0)


def write_bucket(
    out: Path, *, scale: str, mice: int, seed: int, release: str, progress: Progress | None = None
) -> SampleSummary:
    """Write everything; see `pipelines.sample.write_sample`."""
    if scale not in SCALES:
        raise ValueError(f"scale must be 'tiny' or 'real', got {scale!r}")
    if not 1 <= mice <= 99:
        raise ValueError(f"mice must be 1 to 99, got {mice}")
    legacy = is_legacy(release)
    project = out / PROJECT
    if project.exists() and any(project.iterdir()):
        raise FileExistsError(f"{project} already holds files; give an empty folder or remove it")
    sizes = SCALES[scale]
    sessions = plan_sessions(mice, seed, sizes)
    depths = targeted_depths(sessions)
    total = sum(max(1, len(session.planes)) for session in sessions)
    keys: list[str] = []
    counts: dict[int, dict[str, int]] = {}
    experiments: dict[int, Experiment] = {}

    def place(folder: str, name: str) -> Path:
        path = project / folder / f"{name}.nwb"
        path.parent.mkdir(parents=True, exist_ok=True)
        keys.append(path.relative_to(out).as_posix())
        return path

    def report() -> None:
        if progress is not None:
            progress(keys[-1], len(keys), total)

    for session in sessions:
        data = simulate_session(session, sizes, seed)
        counts[session.behavior_session_id] = trial_counts(data)
        if not session.planes:
            path = place("behavior_sessions", f"behavior_session_{session.behavior_session_id}")
            write_behavior_file(path, data, sizes, legacy=legacy)
            report()
        for plane in session.planes:
            path = place(
                "behavior_ophys_experiments", f"behavior_ophys_experiment_{plane.experiment_id}"
            )
            depth = depths[plane.container.container_id]
            experiments[plane.experiment_id] = _write_plane(
                path, data, plane, depth, sizes, seed, legacy
            )
            report()

    file_ids = _file_ids(sessions)
    tables = write_tables(
        project / "project_metadata", sessions, experiments, counts, depths, file_ids, release
    )
    write_manifest(out, release, tables, file_ids)
    return SampleSummary(
        release,
        mice,
        sum(not session.planes for session in sessions),
        len(experiments),
        sum(path.stat().st_size for path in project.rglob("*") if path.is_file()),
        out,
    )


def _write_plane(
    path: Path,
    data: SessionData,
    plane: Plane,
    targeted_depth: int,
    scale: Scale,
    seed: int,
    legacy: bool,
) -> Experiment:
    """Simulate and write one plane. The traces, 200 MB at real scale, live no longer than this call."""
    rois = make_rois(data.session, plane, scale, seed)
    write_experiment_file(
        path,
        data,
        plane,
        rois,
        record(data.session, plane, rois, data.run, data.clock, seed),
        projections(rois, seed, plane.experiment_id),
        targeted_depth,
        scale,
        legacy=legacy,
    )
    return Experiment.of(data.session, plane, rois)


def _file_ids(sessions: list[Session]) -> dict[str, int]:
    """Key below the project folder -> file_id: experiments first, then behaviour sessions, as the release counts."""
    keys = [
        f"behavior_ophys_experiments/behavior_ophys_experiment_{plane.experiment_id}.nwb"
        for session in sessions
        for plane in session.planes
    ]
    keys += [
        f"behavior_sessions/behavior_session_{session.behavior_session_id}.nwb"
        for session in sessions
        if not session.planes
    ]
    return {key: number for number, key in enumerate(keys)}
