"""What a start of Python loads, and what it leaves out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.dictionary import COMMAND, dictionary_markdown

ROOT = Path(__file__).parents[2]


def test_talking_about_tables_does_not_import_arrow() -> None:
    code = (
        "import sys, schemas.dictionary, schemas.layout, schemas.errors\n"
        "print(sorted({'pyarrow', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_the_command_writes_the_page() -> None:
    command = [sys.executable, *COMMAND.partition(" >")[0].split()[1:]]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout.decode() == dictionary_markdown()


LOADED = """
import sys
from assets.__main__ import main
try:
    main()
except SystemExit as leaving:
    print(leaving.code or 0)
print(sorted({*sys.argv.pop().split(",")} & set(sys.modules)))
"""


def loaded(modules: set[str], *command: str | Path) -> tuple[str, str]:
    """The exit code of a command, and which of these modules it imports."""
    program = LOADED.replace("sys.argv.pop()", repr(",".join(sorted(modules))))
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    code, found = done.stdout.splitlines()[-2:]
    return code, found


@pytest.mark.parametrize("command", [["--help"], ["sql", "--help"], ["describe", "trials"]])
def test_quick_commands_do_not_load_dagster(command: list[str]) -> None:
    assert loaded({"dagster"}, *command) == ("0", "[]")


def test_an_ingest_with_nothing_to_do_does_not_load_dagster(
    sample_bucket: Path, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test may have left a run that was killed in the folder of all tests.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    command = ("ingest", "--source", sample_bucket, "--lake", lake)
    assert loaded({"dagster"}, *command) == ("0", "[]")


def test_pandas_is_refused_and_arrow_does_without() -> None:
    program = (
        "import sys\nfrom pipelines.no_pandas import refuse_pandas\nrefuse_pandas()\nrefuse_pandas()\n"
        "import duckdb, numpy as np, pyarrow as pa\n"
        "print(pa.array(np.arange(3.0)).to_numpy().tolist(), pa.array(['a', None]).to_pylist())\n"
        "print(duckdb.execute('SELECT ?', [1]).fetchall(), 'pandas' in sys.modules)\n"
        "try:\n    import pandas\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == [
        "[0.0, 1.0, 2.0] ['a', None]",
        "[(1,)] False",
        "vblake does without pandas here",
    ]


def test_an_ingest_loads_only_what_it_needs(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # h5py and the readers are for the workers.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    command = ("ingest", "--source", sample_bucket, "--lake", tmp_path / "lake", "--workers", "1")
    unwanted = {"pandas", "scipy", "polars", "s3fs", "h5py", "pipelines.nwb.readers"}
    assert loaded(unwanted, *command, "--where", "mouse_id > 0") == ("0", "[]")


def test_ctrl_c_while_the_command_is_still_being_read_leaves_no_traceback() -> None:
    program = (
        "import runpy, sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'assets.commands':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "runpy.run_module('assets', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (130, "error: interrupted")
