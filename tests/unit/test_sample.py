"""The synthetic bucket: layout as released, values that agree with each other, the same bytes for the same seed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.sample import SampleSummary, write_sample
from pipelines.sample.behavior import run_task
from pipelines.sample.design import REAL, TINY, plan_sessions, rng_for
from pipelines.sample.stimulus import image_set_of

PROJECT = "visual-behavior-ophys"
OUTCOMES = ("hit", "miss", "false_alarm", "correct_reject", "aborted", "auto_rewarded")
A = "Natural_Images_Lum_Matched_set_training_2017"
B = "Natural_Images_Lum_Matched_set_ophys_6_2017"

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
BEHAVIOR_COLUMNS = (
    "behavior_session_id ophys_session_id ophys_container_id mouse_id indicator full_genotype driver_line cre_line "
    "reporter_line sex age_in_days imaging_plane_group_count project_code session_type session_number image_set "
    "behavior_type experience_level prior_exposures_to_session_type prior_exposures_to_image_set "
    "prior_exposures_to_omissions date_of_acquisition equipment_name num_depths_per_area ophys_experiment_id "
    "num_targeted_structures file_id trial_count go_trial_count catch_trial_count hit_trial_count miss_trial_count "
    "false_alarm_trial_count correct_reject_trial_count engaged_trial_count"
)
BEHAVIOR_CSV = set(BEHAVIOR_COLUMNS.split())
SESSION_CSV = BEHAVIOR_CSV - {name for name in BEHAVIOR_CSV if name.endswith("trial_count")} - {"file_id"}
PLANE_COLUMNS = "imaging_depth targeted_structure targeted_imaging_depth imaging_plane_group passive published_at isi_experiment_id file_id"
SESSION_ONLY = {"imaging_plane_group_count", "num_depths_per_area", "num_targeted_structures"}
EXPERIMENT_CSV = SESSION_CSV - SESSION_ONLY | set(PLANE_COLUMNS.split())

READ_WITH_PYNWB = """
import sys, warnings
warnings.simplefilter("error")
# The release's device attribute, deprecated by NWB since.
warnings.filterwarnings("ignore", "The 'manufacturer' field is deprecated")
import pynwb
for path in sys.argv[1:]:
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=True) as io:
        nwb = io.read()
        words = [nwb.identifier, type(nwb.lab_meta_data["metadata"]).__name__]
        words.append(nwb.lab_meta_data["task_parameters"].task)
        words += [str(len(nwb.trials.to_dataframe())), type(nwb.subject).__name__, nwb.subject.reporter_line]
        words.append(str(sum(len(table.to_dataframe()) for table in nwb.intervals.values())))
        for series in nwb.stimulus.values():
            words.append(type(series.indexed_timeseries).__name__ + str(series.indexed_timeseries.unwarped.shape))
        if "EyeTracking" in nwb.acquisition:
            words.append(type(nwb.acquisition["EyeTracking"].pupil_tracking).__name__)
        if "ophys" in nwb.processing:
            ophys = nwb.processing["ophys"]
            words.append(str(len(ophys["image_segmentation"]["cell_specimen_table"].to_dataframe())))
            words += [str(ophys["dff"]["traces"].data.shape), str(ophys["event_detection"].lambdas.shape)]
        print("|".join(words))
"""
WRITE = """
import sys
from pathlib import Path
from pipelines.sample import bucket, write_sample
plan = bucket.plan_sessions
# Their planes share no container with other sessions, so leaving those out changes nothing in them.
kept = ("TRAINING_0", "TRAINING_5", "OPHYS_3")
bucket.plan_sessions = lambda *how: [session for session in plan(*how) if session.session_type.startswith(kept)]
write_sample(Path(sys.argv[1]), mice=1)
"""


@contextmanager
def reading(path: Path) -> Generator[Any]:
    """The open file; h5py's stubs cannot know what a path leads to, so it is Any."""
    with h5py.File(path) as file:
        yield file


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
                text = {"b": "bool", "O": "str", "V": "ref"}.get(item.dtype.kind, item.dtype.str[1:])
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
    return {path: sorted(entries.split()) for path, _, entries in (line.partition(": ") for line in lines if line)}


def rows(root: Path, table: str) -> list[dict[str, str]]:
    with (root / PROJECT / "project_metadata" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def values(group: Any) -> dict[str, NDArray[Any]]:
    """A table's columns, text decoded."""
    found: dict[str, NDArray[Any]] = {}
    for name in (*group.attrs["colnames"], "id"):
        data = group[name][()]
        found[name] = data if data.dtype.kind != "O" else np.array([value.decode() for value in data], dtype=object)
    return found


def experiment(root: Path, **match: str) -> Path:
    """The first experiment whose row in the experiment table has these values."""
    for row in rows(root, "ophys_experiment_table"):
        if all(row[name] == value for name, value in match.items()):
            name = f"behavior_ophys_experiment_{row['ophys_experiment_id']}.nwb"
            return root / PROJECT / "behavior_ophys_experiments" / name
    raise AssertionError(match)


def behavior(root: Path, session_type: str) -> Path:
    for row in rows(root, "behavior_session_table"):
        if row["session_type"] == session_type:
            return root / PROJECT / "behavior_sessions" / f"behavior_session_{row['behavior_session_id']}.nwb"
    raise AssertionError(session_type)


def all_files(root: Path) -> list[Path]:
    return sorted((root / PROJECT).rglob("*.nwb"))


def environment() -> dict[str, str]:
    """Without PYTHONHASHSEED, so that a subprocess orders its sets differently from this one."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Path, subprocess.Popen[bytes]]]:
    """Three files of the same bucket written by another process, at the same time as `bucket`."""
    out = tmp_path_factory.mktemp("twin")
    with subprocess.Popen([sys.executable, "-W", "error", "-c", WRITE, str(out)], env=environment()) as process:
        yield out, process


@pytest.fixture(scope="session")
def summary(tmp_path_factory: pytest.TempPathFactory, twin: tuple[Path, Any]) -> SampleSummary:
    del twin  # started first, to run alongside
    return write_sample(tmp_path_factory.mktemp("bucket"), mice=1)


@pytest.fixture(scope="session")
def bucket(summary: SampleSummary) -> Path:
    return summary.root


@pytest.fixture(scope="session")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions in the older layout, one of gratings and one of two planes."""
    kept = ("TRAINING_0", "OPHYS_4")
    plan = [session for session in plan_sessions(1, 0, TINY) if session.session_type.startswith(kept)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sample.bucket.plan_sessions", Mock(return_value=plan))
        return write_sample(tmp_path_factory.mktemp("legacy"), mice=1, release="1.0.1").root


def test_summary_counts_what_is_there(summary: SampleSummary) -> None:
    files = [path for path in summary.root.rglob("*") if path.is_file()]
    assert (summary.release, summary.n_mice, summary.n_behavior_files, summary.n_experiment_files) == ("1.1.0", 1, 2, 7)
    assert len(all_files(summary.root)) == 9
    assert summary.bytes == sum(path.stat().st_size for path in files)


def test_tiny_files_stay_under_two_megabytes(bucket: Path) -> None:
    assert max(path.stat().st_size for path in all_files(bucket)) < 2_000_000


def test_import_is_cheap() -> None:
    code = "import sys, pipelines.sample; print(sorted({'numpy', 'h5py', 'pynwb', 'hdmf', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mice": 0}, "mice must be 1 to 99, got 0"),
        ({"mice": 100}, "mice must be 1 to 99, got 100"),
        ({"scale": "big"}, "scale must be 'tiny' or 'real', got 'big'"),
        ({"release": "1.1"}, "release must be X.Y.Z, such as 1.1.0; got '1.1'"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        write_sample(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_bucket_is_never_overwritten(bucket: Path) -> None:
    with pytest.raises(FileExistsError, match="already holds files"):
        write_sample(bucket, mice=1)


# --- layout


def test_mesoscope_layout(bucket: Path) -> None:
    path = experiment(bucket, session_type="OPHYS_4_images_B", equipment_name="MESO.1")
    with reading(path) as file:
        table = file["processing/ophys/image_segmentation/cell_specimen_table"]
        specimen = table["cell_specimen_id"].dtype.str[1:]
        assert layout(file) == expected(BEHAVIOR_LAYOUT, IMAGES_LAYOUT, OPHYS_LAYOUT, set=B, specimen=specimen)
        metadata = {
            name: type(value).__name__
            for name, value in file["general/metadata"].attrs.items()
            if name not in ("namespace", "neurodata_type", "object_id")
        }
        assert metadata == METADATA | OPHYS_METADATA
        assert list(file[f"intervals/{B}_presentations"].attrs["colnames"]) == PRESENTATION_ORDER.split()
        assert list(file["intervals/trials"].attrs["colnames"]) == TRIAL_ORDER.split()


def test_training_layouts(bucket: Path) -> None:
    with reading(behavior(bucket, "TRAINING_5_images_A_handoff_ready")) as file:
        assert layout(file) == expected(BEHAVIOR_LAYOUT, IMAGES_LAYOUT, set=A)
    with reading(behavior(bucket, "TRAINING_0_gratings_autorewards_15min")) as file:
        assert layout(file) == expected(BEHAVIOR_LAYOUT, GRATINGS_LAYOUT)


def test_passive_layout(bucket: Path) -> None:
    with reading(experiment(bucket, passive="True")) as file:
        found = layout(file)
        assert not [path for path in found if path.startswith(("/processing/licking", "/processing/rewards"))]
        trials = file["intervals/trials"]
        # The release's spelling of "no licks": one empty text, and indexes of zero.
        assert trials["lick_times"][()].tolist() == [b""]
        assert not trials["lick_times_index"][()].any()
        assert trials["reward_volume"].dtype == np.int64
        assert file[f"intervals/{A}_presentations/stimulus_block_name"][0] == b"change_detection_passive"


def test_soft_links_point_where_the_release_points(bucket: Path) -> None:
    with reading(experiment(bucket, equipment_name="MESO.1")) as file:

        def target(path: str) -> str:
            link = file.get(path, getlink=True)
            assert isinstance(link, h5py.SoftLink)
            return link.path

        for name in ("pupil_tracking", "corneal_reflection_tracking", "likely_blink"):
            place = f"/acquisition/EyeTracking/{name}/timestamps"
            assert target(place) == "/acquisition/EyeTracking/eye_tracking/timestamps"
        for name in ("corrected_fluorescence/traces", "corrected_fluorescence/r", "demixed_trace/traces"):
            assert target(f"/processing/ophys/{name}/rois") == "/processing/ophys/dff/traces/rois"
        assert target("/general/optophysiology/imaging_plane_1/device") == "/general/devices/MESO.1"


def test_event_data_is_compressed_as_released(bucket: Path) -> None:
    with reading(experiment(bucket, equipment_name="MESO.1")) as file:
        data = file["processing/ophys/event_detection/data"]
        assert (data.compression, data.compression_opts) == ("gzip", 4)


def test_every_file_says_it_is_synthetic(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            text = file["general/experiment_description"]
            assert text[()].decode().startswith("SYNTHETIC DATA")


def test_pynwb_reads_every_kind_of_file_in_a_fresh_process(bucket: Path, legacy: Path) -> None:
    kinds = [
        behavior(bucket, "TRAINING_0_gratings_autorewards_15min"),
        experiment(bucket, passive="True"),
        experiment(bucket, session_type="OPHYS_3_images_A"),
        experiment(bucket, session_type="OPHYS_4_images_B"),
        experiment(legacy, session_type="OPHYS_4_images_B"),
    ]
    command = [sys.executable, "-c", READ_WITH_PYNWB, *map(str, kinds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.strip().split("\n")]
    assert [line[0] for line in lines] == [path.stem.rpartition("_")[2] for path in kinds]
    assert {line[4] for line in lines} == {"BehaviorSubject"}
    assert [line[1] for line in lines] == ["BehaviorMetadata"] + ["OphysBehaviorMetadata"] * 4
    assert "StimulusTemplate(8, 20, 32)" in lines[3]
    assert "EllipseSeries" in lines[3]


# --- manifest and project tables


def test_manifest_matches_the_objects(bucket: Path) -> None:
    manifest = json.loads((bucket / PROJECT / "manifests" / f"{PROJECT}_project_manifest_v1.1.0.json").read_text())
    assert list(manifest) == [
        "project_name",
        "manifest_version",
        "metadata_file_id_column_name",
        "data_pipeline",
        "metadata_files",
        "data_files",
    ]
    assert list(manifest["metadata_files"]) == [
        "behavior_session_table",
        "ophys_session_table",
        "ophys_experiment_table",
        "ophys_cells_table",
    ]
    entries = [*manifest["metadata_files"].values(), *manifest["data_files"].values()]
    host = "https://visual-behavior-ophys-data.s3.us-west-2.amazonaws.com/"
    for entry in entries:
        path = bucket / entry["url"].removeprefix(host)
        assert entry["file_hash"] == hashlib.blake2b(path.read_bytes()).hexdigest()
        assert len(bytes.fromhex(entry["version_id"])) == 16
    assert len({entry["version_id"] for entry in entries}) == len(entries) == 13
    listed = {row["file_id"] for table in ("behavior_session_table", "ophys_experiment_table") for row in rows(bucket, table)}
    assert listed - {"-999"} == set(manifest["data_files"])


def test_project_tables(bucket: Path) -> None:
    sessions, experiments = rows(bucket, "behavior_session_table"), rows(bucket, "ophys_experiment_table")
    assert set(sessions[0]) == BEHAVIOR_CSV
    assert set(rows(bucket, "ophys_session_table")[0]) == SESSION_CSV
    assert set(experiments[0]) == EXPERIMENT_CSV
    assert list(rows(bucket, "ophys_cells_table")[0]) == ["cell_roi_id", "cell_specimen_id", "ophys_experiment_id"]
    imaged = [row for row in sessions if row["ophys_experiment_id"]]
    assert {row["file_id"] for row in imaged} == {"-999"}
    for row in imaged:
        ids = [e["ophys_experiment_id"] for e in experiments if e["behavior_session_id"] == row["behavior_session_id"]]
        assert row["ophys_experiment_id"] == f"[{', '.join(ids)}]"
        assert not (bucket / PROJECT / "behavior_sessions" / f"behavior_session_{row['behavior_session_id']}.nwb").exists()
    assert max(row["ophys_experiment_id"].count(",") for row in imaged) == 2
    assert sessions[0]["date_of_acquisition"].endswith("+00:00")
    assert "+" not in experiments[0]["date_of_acquisition"]
    assert {row["image_set"] for row in experiments} == {"A", "B"}
    assert {row["experience_level"] for row in sessions} == {"Training", "Familiar", "Novel 1"}


def test_cells_table_lists_the_valid_rois(bucket: Path) -> None:
    listed = rows(bucket, "ophys_cells_table")
    flavours: set[str] = set()
    shared: dict[float, set[str]] = {}
    for row in rows(bucket, "ophys_experiment_table"):
        with reading(experiment(bucket, ophys_experiment_id=row["ophys_experiment_id"])) as file:
            table = file["processing/ophys/image_segmentation/cell_specimen_table"]
            valid = table["valid_roi"][()]
            specimen = table["cell_specimen_id"][()].astype(float)
            flavours.add("nan" if np.isnan(specimen).any() else "minus one" if (specimen < 0).any() else "all matched")
            own = [cell for cell in listed if cell["ophys_experiment_id"] == row["ophys_experiment_id"]]
            assert [int(cell["cell_roi_id"]) for cell in own] == table["id"][()][valid].tolist()
            matched = np.where(specimen > 0, specimen, -1.0)[valid]
            assert [float(cell["cell_specimen_id"] or -1) for cell in own] == matched.tolist()
            for cell in matched[matched > 0]:
                shared.setdefault(cell, set()).add(row["behavior_session_id"])
    assert flavours == {"nan", "minus one", "all matched"}
    assert sum(len(sessions) > 1 for sessions in shared.values()) >= 5


def test_trial_counts_equal_the_files(bucket: Path) -> None:
    for row in rows(bucket, "behavior_session_table"):
        if row["ophys_experiment_id"]:
            path = experiment(bucket, behavior_session_id=row["behavior_session_id"])
        else:
            path = behavior(bucket, row["session_type"])
        with reading(path) as file:
            trials = values(file["intervals/trials"])
        counted = {f"{name}_trial_count": str(int(trials[name].sum())) for name in ("go", "catch", *OUTCOMES[:4])}
        assert {name: row[name] for name in counted} == counted
        assert row["trial_count"] == str(len(trials["id"]))


# --- values


def test_trials_follow_from_licks_rewards_and_clock(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            trials = values(file["intervals/trials"])
            clock = file["processing/stimulus/timestamps/timestamps"][()]
            ends = file["intervals/trials/lick_times_index"][()].astype(np.int64)
            passive = "licking" not in file["processing"]
            frames = np.zeros(0, np.int64) if passive else file["processing/licking/licks/data"][()]
            rewards = np.zeros(0) if passive else file["processing/rewards/volume/timestamps"][()]
        # Exactly one of the six outcomes.
        assert (np.sum([trials[name] for name in OUTCOMES], axis=0) == 1).all()
        assert (trials["is_change"] == (trials["go"] | trials["auto_rewarded"])).all()
        starts = np.concatenate([[0], ends[:-1]])
        start_frames = np.searchsorted(clock, trials["start_time"])
        bounds = np.append(start_frames, len(clock))
        delayed = trials["change_frame"] >= 0
        delay = trials["change_time"][delayed] - clock[trials["change_frame"][delayed]]
        assert np.ptp(delay) < 1e-9
        assert 0.02 < delay[0] < 0.04
        for i in range(len(ends)):
            own = clock[frames[(frames > bounds[i]) & (frames <= bounds[i + 1])]]
            if not passive:
                np.testing.assert_array_equal(trials["lick_times"][starts[i] : ends[i]], own)
            latency = trials["response_latency"][i]
            if trials["aborted"][i]:
                assert len(own) > 0
                assert np.isnan(latency)
                assert np.isnan(trials["change_time"][i])
            else:
                assert latency == (own[0] - trials["change_time"][i] if len(own) else np.inf)
                responded = trials["hit"][i] or trials["false_alarm"][i]
                assert trials["auto_rewarded"][i] or (0.15 <= latency <= 0.75) == responded
            got = rewards[(rewards >= trials["start_time"][i]) & (rewards <= trials["stop_time"][i])]
            rewarded = trials["hit"][i] or trials["auto_rewarded"][i]
            assert len(got) == rewarded
            assert (trials["reward_volume"][i] > 0) == rewarded
            assert trials["reward_time"][i] == got[0] if rewarded else np.isnan(trials["reward_time"][i])
        assert len(rewards) == trials["hit"].sum() + trials["auto_rewarded"].sum()


def test_stored_presentation_columns_equal_the_recomputed(bucket: Path) -> None:
    for path in all_files(bucket):
        with reading(path) as file:
            names = [name for name in file["intervals"] if name.endswith("_presentations")]
            task = next(name for name in names if not name.startswith(("spontaneous", "natural_movie")))
            shown, trials = values(file[f"intervals/{task}"]), values(file["intervals/trials"])
            assert ("spontaneous_presentations" in names) == ("TRAINING_0" not in str(file["session_description"][()]))
        omitted = shown["omitted"].astype(bool)
        previous, count = "", -1
        last_stop = trials["stop_time"].max()
        sham_frames = set(trials["change_frame"][trials["catch"]].tolist())
        for i, name in enumerate(shown["image_name"]):
            assert (name == "omitted") == omitted[i]
            change = bool(previous) and not omitted[i] and name != previous
            assert bool(shown["is_change"][i]) == change
            previous = previous if omitted[i] else name
            count = count if omitted[i] else 0 if change or i == 0 else count + 1
            assert shown["flashes_since_change"][i] == count
            before = np.flatnonzero(trials["start_time"] < shown["start_time"][i])
            trial = trials["id"][before[-1]] if before.size and shown["start_time"][i] < last_stop else -99
            assert shown["trials_id"][i] == trial
            assert shown["is_sham_change"][i] == (trial != -99 and shown["start_frame"][i] in sham_frames)
        assert shown["active"].all()
        changes = shown["start_frame"][shown["is_change"].astype(bool)]
        real = trials["change_frame"][trials["is_change"]]
        np.testing.assert_array_equal(changes, real)


def test_planes_of_a_session_repeat_its_behavior(bucket: Path) -> None:
    session = next(row for row in rows(bucket, "behavior_session_table") if row["ophys_experiment_id"].count(",") == 2)
    paths = [experiment(bucket, ophys_experiment_id=number) for number in session["ophys_experiment_id"].strip("[]").split(", ")]
    clocks: list[float] = []
    contents: list[list[bytes]] = []
    for path in paths:
        with reading(path) as file:
            found: list[bytes] = []

            def keep(name: str, item: Any, found: list[bytes] = found) -> None:
                if hasattr(item, "dtype") and item.dtype.kind in "fib":
                    found.append(name.encode() + item[()].tobytes())

            for part in ("intervals", "acquisition", "stimulus"):
                file[part].visititems(keep)
            contents.append(found)
            clocks.append(file["processing/ophys/dff/traces/timestamps"][0])
    assert contents[0] == contents[1] == contents[2]
    assert len(set(clocks)) == 3


def test_traces_and_masks_agree(bucket: Path) -> None:
    partial = 0
    for path in (bucket / PROJECT / "behavior_ophys_experiments").iterdir():
        with reading(path) as file:
            ophys = file["processing/ophys"]
            dff, corrected, demixed, neuropil = (
                ophys[f"{name}/traces/data"][()] for name in ("dff", "corrected_fluorescence", "demixed_trace", "neuropil_trace")
            )
            r = ophys["corrected_fluorescence/r/data"][()]
            events = ophys["event_detection/data"][()]
            region = ophys["event_detection/rois"][()]
            cells = ophys["image_segmentation/cell_specimen_table"]
            n = len(cells["id"])
            partial += len(region) < n
            assert dff.shape == (len(ophys["dff/traces/timestamps"]), n) == corrected.shape
            assert events.shape == (len(dff), len(region))
            assert (events >= 0).all()
            assert (events > 0).mean() < 0.1
            assert len(ophys["event_detection/lambdas"]) == len(region)
            np.testing.assert_allclose(demixed - r * neuropil, corrected, rtol=1e-9)
            # F0 = corrected / (1 + dff) has one shape over time for all cells, and dF/F follows from it.
            baseline = corrected / (1 + dff)
            np.testing.assert_allclose(baseline / baseline[0], (baseline[:, :1] / baseline[0, :1]).repeat(n, 1), rtol=1e-9)
            masks = cells["image_mask"][()]
            for i, mask in enumerate(masks):
                y, x = np.nonzero(mask)
                box = x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1
                assert box == tuple(cells[name][i] for name in ("x", "y", "width", "height"))
            np.testing.assert_array_equal(ophys["images/segmentation_mask_image"][()], masks.any(axis=0))
    assert partial == 1


def test_stored_blinks_follow_the_rule(bucket: Path) -> None:
    with reading(experiment(bucket, equipment_name="MESO.1")) as file:
        eye = file["acquisition/EyeTracking"]
        areas: list[NDArray[np.float64]] = [eye[f"{name}/area_raw"][()] for name in ("eye_tracking", "pupil_tracking")]
        bad: NDArray[np.bool_] = np.isnan(areas[0]) | np.isnan(areas[1])
        for area in areas:
            bad |= np.abs(area - np.nanmean(area)) / np.nanstd(area) > 3.0
        near: NDArray[np.bool_] = np.convolve(bad, np.ones(5), mode="same") > 0
        np.testing.assert_array_equal(eye["likely_blink/data"][()], near)
        assert 0 < near.mean() < 0.3
        assert np.isnan(eye["pupil_tracking/width"][()])[near].all()
        assert not np.isnan(eye["pupil_tracking/width"][()])[~near].any()


def test_templates_are_one_for_all_files(bucket: Path) -> None:
    digests: dict[str, set[str]] = {}
    for path in all_files(bucket):
        with reading(path) as file:
            for name, template in file["stimulus/templates"].items():
                data = template["data"][()].tobytes() + template["unwarped"][()].tobytes()
                digests.setdefault(name, set()).add(hashlib.blake2b(data).hexdigest())
    assert set(digests) == {f"{A}.07.14", f"{B}.07.14", "grating"}
    assert all(len(found) == 1 for found in digests.values())


# --- seeds, releases, plans


def test_same_seed_same_bytes_in_another_process(bucket: Path, twin: tuple[Path, subprocess.Popen[bytes]]) -> None:
    out, process = twin
    assert process.wait() == 0
    copies = all_files(out)
    assert len(copies) == 3
    for copy in copies:
        assert copy.read_bytes() == (bucket / copy.relative_to(out)).read_bytes(), copy.name


def test_another_seed_gives_other_mice() -> None:
    first, second = (plan_sessions(4, seed, TINY) for seed in (0, 1))
    assert [s.session_type for s in first] == [s.session_type for s in second]
    assert not {s.behavior_session_id for s in first} & {s.behavior_session_id for s in second}


def test_legacy_layout_holds_the_same_data(bucket: Path, legacy: Path) -> None:
    manifest = json.loads((legacy / PROJECT / "manifests" / f"{PROJECT}_project_manifest_v1.0.1.json").read_text())
    assert manifest["manifest_version"] == "1.0.1"
    assert len(all_files(legacy)) == 3
    assert {path.name for path in all_files(legacy)} < {path.name for path in all_files(bucket)}
    old_path, new_path = (experiment(root, session_type="OPHYS_4_images_B") for root in (legacy, bucket))
    with reading(old_path) as old, reading(new_path) as new:
        names = [name for name in old["intervals"] if name.endswith("_presentations")]
        assert names == [f"im{i:03}_presentations" for i in (0, 31, 35, 45, 54, 73, 75, 106)] + ["omitted_presentations"]
        groups = {name: values(old[f"intervals/{name}"]) for name in names}
        task = values(new[f"intervals/{B}_presentations"])
        absent = {"stimulus_block", "stimulus_block_name", "is_change", "trials_id", "active", "is_sham_change"}
        assert all(not absent & set(group) and group["omitted"].dtype == bool for group in groups.values())
        assert "end_frame" not in groups["omitted_presentations"]
        assert groups["im000_presentations"]["end_frame"].dtype == np.float64
        order = np.argsort(np.concatenate([group["start_time"] for group in groups.values()]))
        for name in ("start_time", "stop_time", "duration", "image_name", "image_set", "image_index", "start_frame"):
            merged = np.concatenate([group[name] for group in groups.values()])[order]
            np.testing.assert_array_equal(merged, task[name])
        index = np.concatenate([group["index"] for group in groups.values()])[order]
        np.testing.assert_array_equal(index, np.arange(len(order)))

        old_trials, new_trials = values(old["intervals/trials"]), values(new["intervals/trials"])
        np.testing.assert_array_equal(old_trials.pop("stimulus_change"), new_trials.pop("is_change"))
        frames = old_trials.pop("change_frame")
        assert frames.dtype == np.float64
        np.testing.assert_array_equal(np.nan_to_num(frames, nan=-99), new_trials.pop("change_frame"))
        for name, column in new_trials.items():
            np.testing.assert_array_equal(old_trials[name], column)

        metadata = set(old["general/metadata"].attrs)
        assert "experiment_container_id" in metadata
        assert not {"ophys_container_id", "targeted_imaging_depth", "project_code"} & metadata
        assert "stimulus_name" not in old["general/task_parameters"].attrs
        ophys = old["processing/ophys"]
        assert list(ophys["corrected_fluorescence"]) == ["traces"]
        assert not {"demixed_trace", "neuropil_trace"} & set(ophys)
        np.testing.assert_array_equal(ophys["dff/traces/data"][()], new["processing/ophys/dff/traces/data"][()])
        assert ophys["image_segmentation/cell_specimen_table/x"].dtype == np.float64
        blink = old["acquisition/EyeTracking/likely_blink/data"][()]
        raw, area = (old[f"acquisition/EyeTracking/eye_tracking/{name}"][()] for name in ("area_raw", "width"))
        np.testing.assert_array_equal(np.isnan(area), np.isnan(raw))
        assert np.isnan(area).sum() < blink.sum()
    with reading(behavior(legacy, "TRAINING_0_gratings_autorewards_15min")) as file:
        assert not list(file["stimulus/templates"])
        assert "gratings_90.0_presentations" in file["intervals"]
    imaged = [row for row in rows(legacy, "behavior_session_table") if row["ophys_experiment_id"]]
    assert {row["file_id"] for row in imaged} == {""}
    assert "trial_count" not in imaged[0]


def test_releases_before_1_0_have_three_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = [session for session in plan_sessions(1, 0, TINY) if not session.planes][:1]
    monkeypatch.setattr("pipelines.sample.bucket.plan_sessions", Mock(return_value=training))
    progress = Mock()
    write_sample(tmp_path, mice=1, release="0.3.0", progress=progress)
    tables = {path.name for path in (tmp_path / PROJECT / "project_metadata").iterdir()}
    assert tables == {"behavior_session_table.csv", "ophys_session_table.csv", "ophys_experiment_table.csv"}
    key = f"{PROJECT}/behavior_sessions/behavior_session_{training[0].behavior_session_id}.nwb"
    progress.assert_called_once_with(key, 1, 1)


def test_ids_are_unique_across_the_dataset() -> None:
    sessions = plan_sessions(99, 0, TINY)
    nine = [s.behavior_session_id for s in sessions] + [s.ophys_session_id for s in sessions if s.ophys_session_id]
    nine += [plane.experiment_id for s in sessions for plane in s.planes]
    nine += list({plane.container.container_id for s in sessions for plane in s.planes})
    assert len(set(nine)) == len(nine)
    assert {len(str(number)) for number in nine} == {9}
    mice = {s.mouse.number: s.mouse.mouse_id for s in sessions}
    assert len(set(mice.values())) == 99


def test_four_mice_cover_every_stage() -> None:
    sessions = plan_sessions(4, 0, TINY)
    stages = {"_".join(s.session_type.split("_")[:2]) for s in sessions}
    assert stages >= {f"TRAINING_{i}" for i in (0, 1, 2, 3, 5)} | {f"OPHYS_{i}" for i in (0, 1, 2, 4, 6)}
    assert {s.experience_level for s in sessions} == {"Training", "Familiar", "Novel 1", "Novel >1"}
    assert {s.mouse.cre_line for s in sessions} == {"Slc17a7-IRES2-Cre", "Vip-IRES-Cre", "Sst-IRES-Cre"}
    assert {s.has_eye for s in sessions if s.planes} == {True, False}
    assert plan_sessions(2, 0, TINY) == sessions[: len(plan_sessions(2, 0, TINY))]


def test_real_scale_has_one_of_each_kind_with_the_first_mouse() -> None:
    sessions = plan_sessions(1, 0, REAL)
    assert [(s.rig, len(s.planes)) for s in sessions] == [("behavior", 0), ("scientifica", 1), ("mesoscope", 1)]
    assert (REAL.fov["scientifica"], REAL.template_shape) == ((512, 447), (1200, 1920))


def test_hit_rates_differ_by_experience() -> None:
    """Over many mice at real length: training below familiar, the first novel session in between."""
    rates: dict[str, list[float]] = {}
    for session in plan_sessions(8, 0, TINY):
        if session.passive or session.session_type.startswith("TRAINING_0"):
            continue
        images = len(image_set_of(session).images)
        run = run_task(session, REAL, 0, images, rng_for(0, session.mouse.number, session.number))
        assert np.isin(run.reward_frames[~run.reward_auto] - 1, run.licks).all()
        rates.setdefault(session.experience_level, []).append(run.trials.responded[run.trials.go].mean())
        if session.has_omissions:
            assert run.flashes.omitted.mean() == pytest.approx(0.05, abs=1e-3)
            assert not (run.flashes.omitted & run.flashes.changed).any()
    mean = {level: np.mean(found) for level, found in rates.items()}
    assert mean["Training"] < mean["Novel 1"] < mean["Novel >1"] < mean["Familiar"]
