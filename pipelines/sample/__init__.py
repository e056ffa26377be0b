"""A synthetic bucket in the layout of the Allen Institute Visual Behavior 2P release.

**Everything written here is simulated.** No file holds a recording, no row describes an animal that lived, and nothing
in them may be mistaken for, published as or pooled with the released data. Every NWB file says so in
`/general/experiment_description` and every manifest in its `data_pipeline`. The files exist so that the pipeline can be
tried, tested and measured without the network.

What is faithful is the form: object keys, manifest, CSV columns, HDF5 paths, types, storage and the algebra between the
tables (trials follow from flashes and licks, dF/F from events, the CSV's trial counts from the trials). What is
invented is every number, drawn from one small model of mouse, task and cortex (`design`, `behavior`, `physiology`).

The work is in the submodules; importing this package pulls in neither h5py nor pynwb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["SampleSummary", "write_sample"]


@dataclass(frozen=True)
class SampleSummary:
    """What `write_sample` wrote.

    `n_behavior_files` counts the files of sessions that were not imaged, `n_experiment_files` one file per imaging
    plane; `bytes` is the size of all objects below `root`, the folder that stands for the bucket.
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
    progress: Callable[[str, int, int], None] | None = None,
) -> SampleSummary:
    """Write a synthetic release under `out`, which then stands for the bucket.

    Args:
        out: folder to write to; `<out>/visual-behavior-ophys/` must not exist yet or be empty.
        scale: "tiny" keeps every NWB file under 2 MB with sessions of one to three minutes; "real" has the shapes of
            the release (behaviour about 196 MB, mesoscope plane 360 MB, Scientifica plane 670 MB) but fewer sessions a
            mouse.
        mice: number of mice, 1 to 99. The first four cover every kind of file; mouse 1 alone has a behaviour file, an
            active, a passive and a multi-plane session, on both kinds of microscope. At real scale mouse 1 has one
            behaviour file and one plane on each microscope.
        seed: the same seed gives the same bytes; a mouse's data depend on the seed and its number only, not on `mice`
            or `release`.
        release: the manifest version. "1.1.0" and later use the current layout; "1.0.x" and "0.x" the older one, with
            the same data.
        progress: called as `progress(object key, files done, files in all)` after each NWB file.

    Returns:
        Counts, bytes and the bucket's root.

    Raises:
        ValueError: a number of mice outside 1 to 99, an unknown scale or a release that is not X.Y.Z.
        FileExistsError: `out` already holds a bucket.
    """
    from pipelines.sample.bucket import write_bucket

    return write_bucket(
        Path(out), scale=scale, mice=mice, seed=seed, release=release, progress=progress
    )
