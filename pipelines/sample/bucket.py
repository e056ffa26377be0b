"""Writes the bucket: every session's files, then the project tables, then the manifest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.sample.design import SCALES, Plane, Scale, Session, plan_sessions
from pipelines.sample.manifest import PROJECT, write_manifest
from pipelines.sample.physiology import make_rois, projections, record
from pipelines.sample.project_tables import Experiment, targeted_depths, trial_counts, write_tables
from pipelines.sample.simulate import SessionData, simulate_session
from pipelines.sample.writer import write_behavior_file, write_experiment_file

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SampleSummary:
    """The result of `write_sample`.

    Attributes:
        release: version of the manifest.
        n_mice: number of mice.
        n_behavior_files: number of files of sessions without imaging.
        n_experiment_files: number of files of imaging planes.
        bytes: size of all objects below `root`.
        root: the folder that stands for the bucket.
    """

    release: str
    n_mice: int
    n_behavior_files: int
    n_experiment_files: int
    bytes: int
    root: Path


def write_sample(
    out: Path,
    *,
    scale: Literal["tiny", "real"] = "tiny",
    mice: int = 4,
    seed: int = 0,
    release: str = "1.1.0",
    progress: Progress | None = None,
) -> SampleSummary:
    """Writes a synthetic release under `out`, which then stands for the bucket.

    Args:
        out: folder to write to; `<out>/visual-behavior-ophys/` must be empty or not exist yet.
        scale: "tiny" keeps every NWB file under 2 MB with sessions of one to three minutes; "real"
            has the shapes of the release (behaviour about 196 MB, mesoscope plane 360 MB,
            Scientifica plane 670 MB) but fewer sessions per mouse.
        mice: number of mice, 1 to 99. The first four cover every kind of file; mouse 1 alone has a
            behaviour file and an active, a passive and a multi-plane session on both kinds of
            microscope. At real scale, mouse 1 has one behaviour file and one plane per microscope.
        seed: the same seed gives the same bytes. A mouse's data depend on the seed and its number
            only, not on `mice` or `release`.
        release: version of the manifest. "1.1.0" and later use the current layout, "1.0.x" and
            "0.x" the older one with the same data.
        progress: called as `progress(object key, files done, all files)` after each NWB file.

    Raises:
        ValueError: `mice` is not 1 to 99, or `scale` or `release` is unknown.
        FileExistsError: `out` already holds a bucket.

    Example:
        >>> write_sample(Path("bucket"), mice=1).n_experiment_files  # doctest: +SKIP
        7
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be 'tiny' or 'real', got {scale!r}")
    if not 1 <= mice <= 99:
        raise ValueError(f"mice must be 1 to 99, got {mice}")
    legacy = is_legacy(release)
    project = out / PROJECT
    if project.exists() and any(project.iterdir()):
        raise FileExistsError(f"{project} already holds files; give an empty folder or remove it")
    sessions = plan_sessions(mice, seed, SCALES[scale])
    files = _Files(project, SCALES[scale], seed, legacy, targeted_depths(sessions), progress)
    files.total = sum(max(1, len(session.planes)) for session in sessions)
    for session in sessions:
        files.write_session(session)
    return _finish(out, mice, release, sessions, files)


def is_legacy(release: str) -> bool:
    """Whether a release predates 1.1.0, which changed the layout.

    Raises:
        ValueError: not of the form X.Y.Z.

    Example:
        >>> is_legacy("1.0.1"), is_legacy("1.1.0")
        (True, False)
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", release):
        raise ValueError(f"release must be X.Y.Z, such as 1.1.0; got {release!r}")
    return tuple(map(int, release.split("."))) < (1, 1, 0)


@dataclass
class _Files:
    """Writes the NWB files and keeps what the project tables say about them."""

    project: Path
    scale: Scale
    seed: int
    legacy: bool
    depths: dict[int, int]
    progress: Progress | None
    total: int = 0
    done: int = 0
    counts: dict[int, dict[str, int]] = field(default_factory=dict[int, dict[str, int]])
    experiments: dict[int, Experiment] = field(default_factory=dict[int, Experiment])

    def write_session(self, session: Session) -> None:
        data = simulate_session(session, self.scale, self.seed)
        self.counts[session.behavior_session_id] = trial_counts(data)
        if not session.planes:
            path = self._place("behavior_sessions", session.behavior_session_id)
            write_behavior_file(path, data, self.scale, legacy=self.legacy)
            self._report(path)
        for plane in session.planes:
            path = self._place("behavior_ophys_experiments", plane.experiment_id)
            self.experiments[plane.experiment_id] = self._write_plane(path, data, plane)
            self._report(path)

    def _write_plane(self, path: Path, data: SessionData, plane: Plane) -> Experiment:
        """Simulates and writes one plane. Its traces, 200 MB at real scale, are freed on return."""
        rois = make_rois(data.session, plane, self.scale, self.seed)
        write_experiment_file(
            path,
            data,
            plane,
            rois,
            record(data.session, plane, rois, data.run, data.clock, self.seed),
            projections(rois, self.seed, plane.experiment_id),
            self.depths[plane.container.container_id],
            self.scale,
            legacy=self.legacy,
        )
        return Experiment.of(data.session, plane, rois)

    def _place(self, folder: str, number: int) -> Path:
        path = self.project / folder / f"{folder.removesuffix('s')}_{number}.nwb"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _report(self, path: Path) -> None:
        self.done += 1
        if self.progress is not None:
            key = path.relative_to(self.project.parent).as_posix()
            self.progress(key, self.done, self.total)


def _finish(
    out: Path, mice: int, release: str, sessions: list[Session], files: _Files
) -> SampleSummary:
    """Writes the project tables and the manifest."""
    file_ids = _file_ids(sessions)
    tables = write_tables(
        files.project / "project_metadata",
        sessions,
        files.experiments,
        files.counts,
        files.depths,
        file_ids,
        release,
    )
    made = f"seed {files.seed}, scale {files.scale.name}"
    write_manifest(out, release, tables, file_ids, made)
    return SampleSummary(
        release,
        mice,
        sum(not session.planes for session in sessions),
        len(files.experiments),
        sum(path.stat().st_size for path in files.project.rglob("*") if path.is_file()),
        out,
    )


def _file_ids(sessions: list[Session]) -> dict[str, int]:
    """Maps keys below the project folder to file_id, experiments first like the release."""
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
