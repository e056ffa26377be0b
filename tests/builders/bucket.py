"""A hand-made bucket in the released layout.

All rows are invented; the NWB files are a few bytes that no test opens.

Mouse 100001: training session 1001 (own file), session 1002 with the one experiment 5001.
Mouse 100002: training session 1004 (own file), session 1003 with three planes, listed as 5003, 5002, 5004.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.release.manifest import Release, load_release
from pipelines.release.project_tables import ProjectTables, read_project_tables
from pipelines.source.base import SourceSpec
from pipelines.source.open import Source, open_source

PROJECT = "visual-behavior-ophys"
HOST = "https://visual-behavior-ophys-data.s3.us-west-2.amazonaws.com"

Row = dict[str, str]

_ANIMALS = {
    "100001": {"sex": "F", "cre_line": "Sst-IRES-Cre", "driver_line": "['Sst-IRES-Cre']"},
    "100002": {
        "sex": "M",
        "cre_line": "Slc17a7-IRES2-Cre",
        "driver_line": "['Slc17a7-IRES2-Cre', 'Camk2a-tTA']",
    },
}


def _session(session: str, mouse: str, session_type: str, date: str, **more: str) -> Row:
    number = session_type.split("_")[1] if session_type.startswith("OPHYS") else ""
    return {
        "behavior_session_id": session,
        "mouse_id": mouse,
        "indicator": "GCaMP6f",
        "full_genotype": "A-Cre/wt;B-tTA/wt",
        "reporter_line": "Ai148",
        **_ANIMALS[mouse],
        "age_in_days": "100",
        "project_code": "VisualBehavior",
        "session_type": session_type,
        "session_number": f"{number}.0" if number else "",
        "image_set": "images_A",
        "behavior_type": "active_behavior",
        "experience_level": "Familiar" if number else "Training",
        "prior_exposures_to_session_type": "0",
        "prior_exposures_to_image_set": "3.0",
        "prior_exposures_to_omissions": "0",
        "date_of_acquisition": date,
        "equipment_name": "CAM2P.1" if number else "BEH.A",
        **more,
    }


def _behavior_rows(first: Row, second: Row) -> list[Row]:
    none = {"ophys_session_id": "", "ophys_container_id": "", "ophys_experiment_id": ""}
    gratings = _session("1004", "100002", "TRAINING_1_gratings", "2020-01-04T10:00:00", **none)
    training = _session("1001", "100001", "TRAINING_0_gratings", "2020-01-01 10:00:00", **none)
    return [
        {**gratings, "file_id": "22", "trial_count": "300"},
        {**training, "file_id": "21", "trial_count": "100"},
        {**first, "file_id": "-999", "trial_count": "400"},
        {**second, "file_id": "-999", "trial_count": "500"},
    ]


def _experiment_rows(first: Row, second: Row) -> list[Row]:
    rows: list[Row] = []
    for session, experiment, container, depth, structure, file_id in (
        (first, "5001", "7001", "275", "VISp", "0"),
        (second, "5002", "7002", "150", "VISp", "2"),
        (second, "5003", "7003", "225", "VISl", "1"),
        (second, "5004", "7004", "300", "VISl", "3"),
    ):
        own = {
            "ophys_session_id": session["ophys_session_id"].removesuffix(".0"),
            "ophys_experiment_id": experiment,
            "ophys_container_id": container,
            "imaging_depth": depth,
            "targeted_structure": structure,
            "image_set": "A",
            "passive": "False",
            "file_id": file_id,
        }
        rows.append({**session, **own})
    return rows


def _tables() -> dict[str, list[Row]]:
    one = {
        "ophys_session_id": "2002.0",
        "ophys_container_id": "[7001]",
        "ophys_experiment_id": "[5001]",
    }
    three = {
        "ophys_session_id": "2003.0",
        "ophys_container_id": "[7002, 7003, 7004]",
        "ophys_experiment_id": "[5003, 5002, 5004]",
    }
    first = _session("1002", "100001", "OPHYS_1_images_A", "2020-01-02 10:00:00.250000", **one)
    second = _session("1003", "100002", "OPHYS_3_images_A", "2020-01-03 10:00:00+02:00", **three)
    cells = (
        ("9003", "", "5002"),
        ("9001", "1091957586.0", "5001"),
        ("9002", "8002.0", "5001"),
    )
    return {
        "behavior_session_table": _behavior_rows(first, second),
        "ophys_session_table": [
            {**first, "ophys_session_id": "2002"},
            {**second, "ophys_session_id": "2003"},
        ],
        "ophys_experiment_table": _experiment_rows(first, second),
        "ophys_cells_table": [
            {"cell_roi_id": roi, "cell_specimen_id": cell, "ophys_experiment_id": experiment}
            for roi, cell, experiment in cells
        ],
    }


def _files() -> dict[int, str]:
    experiments = {0: 5001, 1: 5003, 2: 5002, 3: 5004}
    sessions = {21: 1001, 22: 1004}
    return {
        **{
            i: f"{PROJECT}/behavior_ophys_experiments/behavior_ophys_experiment_{e}.nwb"
            for i, e in experiments.items()
        },
        **{i: f"{PROJECT}/behavior_sessions/behavior_session_{s}.nwb" for i, s in sessions.items()},
    }


def blake2b(content: bytes) -> str:
    """BLAKE2b-512 as manifests write it."""
    return hashlib.blake2b(content).hexdigest()


def to_csv(rows: list[Row]) -> bytes:
    """Rows as a CSV file, with the columns of all of them; cells that a row lacks are empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@dataclass
class Bucket:
    """What the bucket holds; tests change it before they write it out.

    Attributes:
        tables: rows of the CSV files by manifest name, every cell as text.
        contents: CSV files given as bytes instead.
        files: keys of the NWB files by file_id.
        nwb: contents of NWB files by key, where they are not made up.
        metadata: folder of the CSV files. A folder holds one version of each object, so releases
            that differ in their CSV files need one each.
    """

    version: str = "1.1.0"
    tables: dict[str, list[Row]] = field(default_factory=_tables)
    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    files: dict[int, str] = field(default_factory=_files)
    nwb: dict[str, bytes] = field(default_factory=dict[str, bytes])
    metadata: str = "project_metadata"

    def objects(self) -> dict[str, bytes]:
        """Contents by key, without the manifest."""
        tables = {
            f"{PROJECT}/{self.metadata}/{name}.csv": self.contents.get(name, to_csv(rows))
            for name, rows in self.tables.items()
        }
        return {
            **tables,
            **{
                key: self.nwb.get(key, f"not really HDF5: {key}".encode())
                for key in self.files.values()
            },
        }

    def manifest(self) -> dict[str, Any]:
        """The manifest, with right hashes."""
        objects = self.objects()

        def entry(key: str) -> dict[str, str]:
            return {
                "url": f"{HOST}/{key}",
                "version_id": f"v-{blake2b(objects[key])[:12]}",
                "file_hash": blake2b(objects[key]),
            }

        return {
            "project_name": PROJECT,
            "manifest_version": self.version,
            "metadata_file_id_column_name": "file_id",
            "data_pipeline": [],
            "metadata_files": {
                name: entry(f"{PROJECT}/{self.metadata}/{name}.csv") for name in self.tables
            },
            "data_files": {str(file_id): entry(key) for file_id, key in self.files.items()},
        }

    def write(self, folder: Path, manifest: object = None) -> Source:
        """Writes everything into a folder and opens it; `manifest` is JSON or bytes."""
        objects = self.objects()
        content = (
            manifest
            if isinstance(manifest, bytes)
            else json.dumps(manifest or self.manifest()).encode()
        )
        objects[manifest_key(self.version)] = content
        for key, value in objects.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value)
        return open_source(SourceSpec(str(folder)))

    def read(self, folder: Path) -> tuple[Release, ProjectTables]:
        """Writes the bucket and reads its release and project tables back."""
        source = self.write(folder)
        release = load_release(source)
        return release, read_project_tables(source, release)


def manifest_key(version: str) -> str:
    """Key of a release's manifest."""
    return f"{PROJECT}/manifests/{PROJECT}_project_manifest_v{version}.json"
