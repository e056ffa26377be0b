"""Writes the bucket: every session's files, then the project tables, then the manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.processes import forkserver
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
    workers: int = 1,
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
        progress: called as `progress(object key, files done, all files)` for each NWB file of a
            session once all of them are written.
        workers: processes that write, 1 for none but this.

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
    files = _Files(project, SCALES[scale], seed, legacy, targeted_depths(sessions))
    total, paths, written = sum(max(1, len(s.planes)) for s in sessions), 0, list[_Written]()
    for session in _write_all(files, sessions, workers):
        written.append(session)
        for path in session.paths:
            paths += 1
            if progress is not None:
                progress(path.relative_to(out).as_posix(), paths, total)
    return _finish(out, mice, release, sessions, files, written)


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


@dataclass(frozen=True)
class _Written:
    """What is kept of a session whose files were written, for the project tables."""

    counts: dict[str, int]
    paths: list[Path]
    experiments: list[Experiment]


@dataclass(frozen=True)
class _Files:
    """Writes the NWB files of sessions, each by itself."""

    project: Path
    scale: Scale
    seed: int
    legacy: bool
    depths: dict[int, int]

    def write_session(self, session: Session) -> _Written:
        data = simulate_session(session, self.scale, self.seed)
        written = _Written(trial_counts(data), [], [])
        if not session.planes:
            path = self._place("behavior_sessions", session.behavior_session_id)
            write_behavior_file(path, data, self.scale, legacy=self.legacy)
            written.paths.append(path)
        for plane in session.planes:
            path = self._place("behavior_ophys_experiments", plane.experiment_id)
            written.experiments.append(self._write_plane(path, data, plane))
            written.paths.append(path)
        return written

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


def _write_all(files: _Files, sessions: list[Session], workers: int) -> Iterator[_Written]:
    """Writes the files of all sessions, in their order."""
    if workers == 1:
        yield from map(files.write_session, sessions)
        return
    # Workers are forked from a process that has imported pynwb, which takes a second.
    with ProcessPoolExecutor(min(workers, len(sessions)), forkserver(__name__)) as pool:
        yield from pool.map(files.write_session, sessions)


def _finish(
    out: Path,
    mice: int,
    release: str,
    sessions: list[Session],
    files: _Files,
    written: list[_Written],
) -> SampleSummary:
    """Writes the project tables and the manifest."""
    file_ids = _file_ids(sessions)
    experiments = {e.plane.experiment_id: e for of in written for e in of.experiments}
    ids = [session.behavior_session_id for session in sessions]
    tables = write_tables(
        files.project / "project_metadata",
        sessions,
        experiments,
        dict(zip(ids, (of.counts for of in written), strict=True)),
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
        len(experiments),
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
