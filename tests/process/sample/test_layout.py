"""The files of the synthetic bucket are laid out as released."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from builders.sampled import A, B, all_files, behavior, experiment, reading

# One line a group: dataset=type, /rank unless 1, * if chunked (all else is contiguous), @ for a soft link. Taken from
# the listings of released-layout files, not from this writer. `ref` is NWB's compound of index, count and reference.
BEHAVIOR_LAYOUT = """
/: file_create_date=str identifier=str/0 session_description=str/0 session_start_time=str/0 \
timestamps_reference_time=str/0
/acquisition/v_in/: data=f8 timestamps=f8
/acquisition/v_sig/: data=f8 timestamps=f8
/general/: experiment_description=str/0 institution=str/0 keywords=str
/general/subject/: age=str/0 description=str/0 genotype=str/0 sex=str/0 species=str/0 subject_id=str/0
/intervals/trials/: aborted=bool auto_rewarded=bool catch=bool change_frame=i8 change_image_name=str change_time=f8 \
correct_reject=bool false_alarm=bool go=bool hit=bool id=i8 initial_image_name=str is_change=bool lick_times=f8 \
lick_times_index=u1 miss=bool response_latency=f8 response_time=f8 reward_time=f8 reward_volume=f8 start_time=f8 \
stop_time=f8 trial_length=f8
/processing/licking/licks/: data=i8 timestamps=f8
/processing/rewards/autorewarded/: data=bool timestamps=f8
/processing/rewards/volume/: data=f8 timestamps=f8
/processing/running/dx/: data=f4 timestamps=f8
/processing/running/speed/: data=f8 timestamps=f8
/processing/running/speed_unfiltered/: data=f8 timestamps=f8
/processing/stimulus/timestamps/: data=f8 timestamps=f8
"""
IMAGES_LAYOUT = """
/intervals/{set}_presentations/: active=bool duration=f8 end_frame=i8 flashes_since_change=i8 id=i8 image_index=i8 \
image_name=str image_set=str is_change=f8 is_image_novel=f8 is_sham_change=bool movie_frame_index=i8 movie_repeat=i8 \
omitted=f8 start_frame=i8 start_time=f8 stimulus_block=i8 stimulus_block_name=str stimulus_name=str stop_time=f8 \
tags=str tags_index=u1 timeseries=ref timeseries_index=u1 trials_id=i8
/intervals/natural_movie_one_presentations/: active=bool duration=f8 end_frame=i8 flashes_since_change=i8 id=i8 \
image_index=i8 is_sham_change=bool movie_frame_index=i8 movie_repeat=i8 start_frame=i8 start_time=f8 stimulus_block=i8 \
stimulus_block_name=str stimulus_name=str stop_time=f8 tags=str tags_index=u1 timeseries=ref timeseries_index=u1 \
trials_id=i8
/intervals/spontaneous_presentations/: active=bool duration=f8 end_frame=i8 flashes_since_change=i8 id=i8 \
image_index=i8 is_sham_change=bool movie_frame_index=i8 movie_repeat=i8 start_frame=i8 start_time=f8 stimulus_block=i8 \
stimulus_block_name=str stimulus_name=str stop_time=f8 tags=str tags_index=u1 timeseries=ref timeseries_index=u1 \
trials_id=i8
/stimulus/presentation/{set}.07.14/: data=u8 indexed_timeseries@ timestamps=f8
/stimulus/templates/{set}.07.14/: control=u8 control_description=str data=u1/3 format=str/0 timestamps=f8 unwarped=f8/3
"""
GRATINGS_LAYOUT = """
/intervals/grating_presentations/: active=bool duration=f8 end_frame=i8 flashes_since_change=i8 id=i8 image_index=i8 \
image_name=str image_set=str is_change=bool is_image_novel=bool is_sham_change=bool omitted=bool orientation=f8 \
phase=f8 spatial_frequency=f8 start_frame=i8 start_time=f8 stimulus_block=i8 stimulus_block_name=str stimulus_name=str \
stop_time=f8 tags=str tags_index=u1 timeseries=ref timeseries_index=u1 trials_id=i8
/stimulus/presentation/grating/: data=u8 indexed_timeseries@ timestamps=f8
/stimulus/templates/grating/: control=u8 control_description=str data=u1/3 format=str/0 timestamps=f8 unwarped=f4/3
"""
OPHYS_LAYOUT = """
/acquisition/EyeTracking/corneal_reflection_tracking/: angle=f8 area=f8 area_raw=f8 data=f8/2 height=f8 \
reference_frame=str/0 timestamps@ width=f8
/acquisition/EyeTracking/eye_tracking/: angle=f8 area=f8 area_raw=f8 data=f8/2 height=f8 reference_frame=str/0 \
timestamps=f8 width=f8
/acquisition/EyeTracking/likely_blink/: data=bool timestamps@
/acquisition/EyeTracking/pupil_tracking/: angle=f8 area=f8 area_raw=f8 data=f8/2 height=f8 reference_frame=str/0 \
timestamps@ width=f8
/general/optophysiology/imaging_plane_1/: description=str/0 device@ excitation_lambda=f8/0 imaging_rate=f8/0 \
indicator=str/0 location=str/0
/general/optophysiology/imaging_plane_1/channel_1/: description=str/0 emission_lambda=f8/0
/processing/eye_tracking_rig_metadata/eye_tracking_rig_metadata/: camera_position=f8 camera_rotation=f8 \
led_position=f8 monitor_position=f8 monitor_rotation=f8
/processing/ophys/corrected_fluorescence/RMSE/: data=f8 rois@ timestamps=f8
/processing/ophys/corrected_fluorescence/r/: data=f8 rois@ timestamps=f8
/processing/ophys/corrected_fluorescence/traces/: data=f8/2 rois@ timestamps=f8
/processing/ophys/demixed_trace/traces/: data=f8/2 rois@ timestamps=f8
/processing/ophys/dff/traces/: data=f8/2 rois=i8 timestamps=f8
/processing/ophys/event_detection/: data=f8/2* lambdas=f8 noise_stds=f8 rois=i8 timestamps=f8
/processing/ophys/image_segmentation/cell_specimen_table/: cell_specimen_id={specimen} height=i8 id=i8 \
image_mask=bool/3 imaging_plane@ mask_image_plane=i8 max_correction_down=f8 max_correction_left=f8 \
max_correction_right=f8 max_correction_up=f8 valid_roi=bool width=i8 x=i8 y=i8
/processing/ophys/images/: average_image=u1/2 max_projection=u1/2 segmentation_mask_image=i8/2
/processing/ophys/neuropil_trace/traces/: data=f8/2 rois@ timestamps=f8
/processing/ophys/ophys_motion_correction_x/: data=i8 timestamps=f8
/processing/ophys/ophys_motion_correction_y/: data=i8 timestamps=f8
"""
METADATA = {
    "behavior_session_id": "int64",
    "behavior_session_uuid": "str",
    "equipment_name": "str",
    "project_code": "str",
    "session_type": "str",
    "stimulus_frame_rate": "float64",
}
OPHYS_METADATA = dict.fromkeys(
    (
        "field_of_view_height",
        "field_of_view_width",
        "imaging_depth",
        "imaging_plane_group",
        "imaging_plane_group_count",
        "ophys_container_id",
        "ophys_experiment_id",
        "ophys_session_id",
        "targeted_imaging_depth",
    ),
    "int64",
)
PRESENTATION_ORDER = (
    "start_time stop_time stimulus_block stimulus_block_name image_index image_name movie_frame_index duration "
    "start_frame end_frame is_change is_image_novel omitted movie_repeat flashes_since_change trials_id image_set "
    "active is_sham_change stimulus_name tags timeseries"
)
TRIAL_ORDER = (
    "start_time stop_time initial_image_name change_image_name is_change change_time go catch lick_times response_time "
    "response_latency reward_time reward_volume hit false_alarm miss correct_reject aborted auto_rewarded change_frame "
    "trial_length"
)

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


def layout(file: Any) -> dict[str, list[str]]:
    """Group -> its datasets and links in the notation of the expected layouts; cached schemas left out."""
    found: dict[str, list[str]] = {}

    def walk(group: Any, path: str) -> None:
        entries: list[str] = []
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.SoftLink):
                entries.append(f"{name}@")
                continue
            item: Any = group[name]
            if hasattr(item, "dtype"):
                text = {"b": "bool", "O": "str", "V": "ref"}.get(
                    item.dtype.kind, item.dtype.str[1:]
                )
                rank = "" if item.ndim == 1 else f"/{item.ndim}"
                entries.append(f"{name}={text}{rank}" + "*" * bool(item.chunks))
            elif path + name != "/specifications":
                walk(item, f"{path}{name}/")
        if entries:
            found[path] = sorted(entries)

    walk(file, "/")
    return found


def expected(*parts: str, **words: str) -> dict[str, list[str]]:
    lines = "".join(parts).format(**words).strip().split("\n")
    return {
        path: sorted(entries.split())
        for path, _, entries in (line.partition(": ") for line in lines if line)
    }


def test_mesoscope_layout(bucket: Path) -> None:
    path = experiment(bucket, session_type="OPHYS_4_images_B", equipment_name="MESO.1")
    with reading(path) as file:
        table = file["processing/ophys/image_segmentation/cell_specimen_table"]
        specimen = table["cell_specimen_id"].dtype.str[1:]
        assert layout(file) == expected(
            BEHAVIOR_LAYOUT, IMAGES_LAYOUT, OPHYS_LAYOUT, set=B, specimen=specimen
        )
        metadata = {
            name: type(value).__name__
            for name, value in file["general/metadata"].attrs.items()
            if name not in ("namespace", "neurodata_type", "object_id")
        }
        assert metadata == METADATA | OPHYS_METADATA
        assert (
            list(file[f"intervals/{B}_presentations"].attrs["colnames"])
            == PRESENTATION_ORDER.split()
        )
        assert list(file["intervals/trials"].attrs["colnames"]) == TRIAL_ORDER.split()


def test_training_layouts(bucket: Path) -> None:
    with reading(behavior(bucket, "TRAINING_5_images_A_handoff_ready")) as file:
        assert layout(file) == expected(BEHAVIOR_LAYOUT, IMAGES_LAYOUT, set=A)
    with reading(behavior(bucket, "TRAINING_0_gratings_autorewards_15min")) as file:
        assert layout(file) == expected(BEHAVIOR_LAYOUT, GRATINGS_LAYOUT)


def test_passive_layout(bucket: Path) -> None:
    with reading(experiment(bucket, passive="True")) as file:
        found = layout(file)
        assert not [
            path
            for path in found
            if path.startswith(("/processing/licking", "/processing/rewards"))
        ]
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
