"""Shared fixtures: one synthetic bucket and one lake from it per test session."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.lake import build_lake
from builders.secret import CANARY, lake_beside_secrets

from pipelines.ingest import MouseReport, ingest, prepare
from pipelines.lake.store import LocalStore
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.sample import write_sample
from pipelines.source.base import SourceSpec

Ingest = Callable[..., list[MouseReport]]
Figure = Callable[[str], None]

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vblake")
    group.addoption(
        "--soak",
        action="store_true",
        help="run the fault tests with their full number of cases (make soak)",
    )
    group.addoption(
        "--seed",
        type=int,
        default=0,
        help="seed of the fault tests; a failure names the case, so that it can be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    # Under nohup, or in the background of a script, these are ignored, and the commands that the tests start would inherit that.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if lines := config.stash[FIGURES]:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def soak(pytestconfig: pytest.Config) -> bool:
    """Whether the fault tests run with their full number of cases."""
    return bool(pytestconfig.getoption("--soak"))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Seed of the fault tests."""
    return int(pytestconfig.getoption("--seed"))


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Figure:
    """`figure("100 kills, 31 in publication, ...")`: a line for the end of the run, and for docs/reliability.md."""
    return pytestconfig.stash[FIGURES].append


@pytest.fixture(scope="session")
def sample_bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic bucket of two mice; tests must not change it."""
    folder = tmp_path_factory.mktemp("sample") / "bucket"
    write_sample(folder, mice=2, seed=7)
    return folder


@pytest.fixture(scope="session")
def sample_lake(sample_bucket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample bucket as a lake; tests must not change it."""
    lake = tmp_path_factory.mktemp("sample-lake") / "lake"
    ingest(prepare(IngestRequest(SourceSpec(str(sample_bucket)), str(lake), workers=0)))
    return lake


@pytest.fixture
def bucket(sample_bucket: Path, tmp_path: Path) -> Path:
    """A copy of the sample bucket that a test may damage."""
    copy = tmp_path / "bucket"
    shutil.copytree(sample_bucket, copy)
    return copy


@pytest.fixture
def lake(sample_lake: Path, tmp_path: Path) -> Path:
    """A copy of the sample lake that a test may damage."""
    copy = tmp_path / "lake"
    shutil.copytree(sample_lake, copy)
    return copy


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made lake of `builders.lake`; tests must not change it."""
    folder = tmp_path_factory.mktemp("good") / "lake"
    build_lake(folder)
    return folder


@pytest.fixture
def store(good: Path, tmp_path: Path) -> LocalStore:
    """A copy of the hand-made lake that a test may damage; it is also a lake that was moved."""
    shutil.copytree(good, tmp_path / "lake")
    return LocalStore(tmp_path / "lake")


@pytest.fixture
def run_ingest() -> Ingest:
    """`run_ingest(bucket, lake, tables=..., mice=..., force=...)` in this process."""

    def run(
        bucket: Path,
        lake: Path,
        *,
        force: bool = False,
        workers: int = 0,
        release: str = "latest",
        **selection: object,
    ) -> list[MouseReport]:
        chosen = Selection(**selection)  # type: ignore[arg-type]
        request = IngestRequest(
            SourceSpec(str(bucket)),
            str(lake),
            selection=chosen,
            force=force,
            workers=workers,
            release=release,
        )
        return ingest(prepare(request))

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake and with files that are not the lake's."""
    folder = tmp_path_factory.mktemp("place")
    lake_beside_secrets(folder)
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That folder as the working directory, and a secret in the environment."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("SECRET", CANARY)
