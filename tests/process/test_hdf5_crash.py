"""A source that fails inside HDF5 must not crash the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("good", [0, 2])
def test_a_source_that_fails_while_hdf5_opens_it_does_not_crash_the_process_when_it_ends(
    good: int,
) -> None:
    """The error is kept, as one does with errors, and with its traceback what h5py had in hand."""
    program = f"""
import io
import h5py
from pipelines.nwb.hdf5.values import open_hdf5

whole = io.BytesIO()
h5py.File(whole, "w").close()

class Gone(Exception):
    pass

class Broken(io.BytesIO):
    reads = 0
    def readinto(self, buffer):
        self.reads += 1
        if self.reads > {good}:
            raise Gone("gone")
        return super().readinto(buffer)

try:
    with open_hdf5(Broken(whole.getvalue()), "name"):
        print("opened")
except Gone as error:
    kept = error
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, "gone\n"), done.stderr
