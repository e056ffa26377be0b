"""The whole reference bucket through the project's comparison tool, where the reference is at hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from builders.lakes import query

from schemas import TABLES, Subject

SHARED = Path(__file__).parents[3] / "shared"
TOOL = SHARED / "tools" / "compare_truth.py"
BUCKET = SHARED / "reference" / "bucket"
TRUTH = SHARED / "reference" / "truth"

pytestmark = [
    pytest.mark.skipif(
        not (TOOL.exists() and BUCKET.exists() and TRUTH.exists()),
        reason=f"no reference beside the repository: {SHARED}",
    ),
]

ALL_TABLES = tuple(name for name, table in TABLES.items() if table.subject is not Subject.LEDGER)

# The tool does not know these; tests/unit/test_mini_reference.py compares geometry and masks.
NO_TRUTH = {
    "ophys_cells",
    "eye_tracking_rig_geometry",
    "roi_masks",
    "running_acquisition",
    "presentation_annotations",
    "presentation_frames",
    "stimulus_responses",
    "mean_responses",
}


def test_every_value_of_the_reference(reference_lake: Path) -> None:
    files = query(reference_lake, "SELECT status, error FROM source_files")
    assert files == [("ingested", None)] * len(list(BUCKET.rglob("*.nwb")))

    done = subprocess.run(
        [sys.executable, str(TOOL), str(reference_lake), str(TRUTH)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines[-1].endswith(" 0 differ")
    assert re.fullmatch(r"\d+ values compared in \d+ tables, 0 differ", lines[-1])
    values = {
        m[1]: int(m[2])
        for line in lines
        if (m := re.fullmatch(r"(\w+) +(\d+) values, 0 differ", line))
    }
    assert set(values) == set(ALL_TABLES) - NO_TRUTH
    assert min(values.values()) > 0
    # One value a documented table is its list of columns; these are not documented, so all theirs are values.
    assert min(values["demixed_traces"], values["neuropil_traces"]) > 100
