"""The files of the synthetic bucket are laid out as released."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from builders.mini import BEHAVIOR_FILE, EXPERIMENT_FILE, MINI
from builders.sampled import A, all_files, behavior, experiment, reading

READ_WITH_PYNWB = """
import sys, warnings
warnings.simplefilter("error")
# The release's device attribute, deprecated by NWB since.
warnings.filterwarnings("ignore", "The 'manufacturer' field is deprecated")
import pynwb
for path in sys.argv[1:]:
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=True) as io:
        nwb = io.read()
        rows = len(nwb.trials.to_dataframe())
        rows += sum(len(table.to_dataframe()) for table in nwb.intervals.values())
        eye, ophys = nwb.acquisition["EyeTracking"].pupil_tracking, nwb.processing["ophys"]
        rows += len(ophys["image_segmentation"]["cell_specimen_table"].to_dataframe())
        kinds = [nwb.lab_meta_data["metadata"], nwb.subject, eye, ophys["event_detection"]]
        kinds += [series.indexed_timeseries for series in nwb.stimulus.values()]
        print(nwb.identifier, rows > 100, *(type(one).__name__ for one in kinds))
"""


IMAGE_SET = re.compile(r"Natural_Images_Lum_Matched_set_\w+_20\d\d(\.\d\d\.\d\d)?")


def layout(path: Path) -> dict[str, tuple[str, int, bool]]:
    """Datasets by path, with type, rank and whether they are chunked, and the soft links.

    Image sets have one name, and cell ids one type: the release has them as integers if all ROIs
    are matched to a cell.
    """
    found: dict[str, tuple[str, int, bool]] = {}

    def visit(name: str) -> None:
        short = IMAGE_SET.sub("image_set", name)
        item: Any = file[name]
        if isinstance(file.get(name, getlink=True), h5py.SoftLink):
            found[short] = ("link", 0, False)
        elif isinstance(item, h5py.Dataset):
            kind = "id" if name.endswith("/cell_specimen_id") else item.dtype.str
            found[short] = (kind, item.ndim, item.chunks is not None)

    with reading(path) as file:
        file.visit_links(lambda name: None if name.startswith("specifications") else visit(name))
    return found


def test_layout_is_that_of_the_release(bucket: Path) -> None:
    """The files of tests/data/mini are of the release's own writer."""
    written = {
        EXPERIMENT_FILE: experiment(bucket, equipment_name="MESO.1", passive="False"),
        BEHAVIOR_FILE: behavior(bucket, "TRAINING_0_gratings_autorewards_15min"),
    }
    for released, path in written.items():
        assert layout(path) == layout(MINI / "bucket" / released)


def test_passive_layout(bucket: Path) -> None:
    with reading(experiment(bucket, passive="True")) as file:
        assert not {"licking", "rewards"} & set(file["processing"])
        trials = file["intervals/trials"]
        # The release's spelling of "no licks": one empty text, and indexes of zero.
        assert trials["lick_times"][()].tolist() == [b""]
        assert not trials["lick_times_index"][()].any()
        assert trials["reward_volume"].dtype == np.int64
        assert (
            file[f"intervals/{A}_presentations/stimulus_block_name"][0]
            == b"change_detection_passive"
        )


def test_every_file_says_it_is_synthetic(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            text = file["general/experiment_description"]
            assert text[()].decode().startswith("SYNTHETIC DATA")


def test_pynwb_reads_files_of_both_layouts_in_a_fresh_process(bucket: Path, legacy: Path) -> None:
    paths = [experiment(root, session_type="OPHYS_4_images_B") for root in (bucket, legacy)]
    command = [sys.executable, "-c", READ_WITH_PYNWB, *map(str, paths)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kinds = "OphysBehaviorMetadata BehaviorSubject EllipseSeries OphysEventDetection"
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        assert line.startswith(f"{path.stem.rpartition('_')[2]} True {kinds}")
    assert done.stdout.splitlines()[0].endswith(" StimulusTemplate")
