"""What a bare `pytest` runs, and the fixtures that many tests share."""

from __future__ import annotations

import gc
import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from builders.fixtures import Figure, Ingest
from builders.lake import build_lake
from builders.secret import CANARY, lake_beside_secrets
from filelock import FileLock
from hypothesis import settings

from pipelines.ingest import MouseReport, ingest
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES, Subject

# Run by interpreters that have AllenSDK, or DuckLake.
collect_ignore = ["builders/with_allensdk.py", "builders/with_ducklake.py"]

FIGURES = pytest.StashKey[list[str]]()
ROOT = Path(__file__).parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"
KINDS = ("unit", "process", "network", "fault")
"""The folders of tests, each of which gives its tests the marker of the same name."""

LONGEST = "test_dagster_ui.py"
"""It waits for minutes for Dagster's daemon, which others should work through."""

settings.register_profile("vblake", deadline=None)  # a test never measures time
settings.load_profile("vblake")


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


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Runs a bare `pytest` on all cores; with paths it stays in one process unless `-n` is given."""
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist, which calls this too and must not start workers
    bare = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if bare and config.option.numprocesses is None and not config.option.usepdb:
        config.option.numprocesses = "auto"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with the kind of its folder; doctests are unit tests. The longest go first."""
    for item in items:
        kind = item.path.relative_to(ROOT).parts[1]
        item.add_marker(kind if kind in KINDS else "unit")
    items.sort(key=lambda item: item.path.name != LONGEST)


def pytest_collection_finish() -> None:
    """Keeps what the tests import out of the garbage collection that follows each ingested file.

    A collection would look through all of it, which took a seventh of the time of an ingest.
    """
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    # nohup and background jobs of scripts ignore these signals, and the commands that the tests
    # start would inherit that.
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


@pytest.fixture(scope="session", autouse=True)
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which commands that the tests run record their Dagster runs."""
    home = tmp_path_factory.mktemp("dagster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        yield home


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
    """`figure("100 kills, ...")` prints a line at the end of the run, for docs/reliability.md."""
    return pytestconfig.stash[FIGURES].append


def _cached(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    sources: tuple[str, ...],
    make: Callable[[Path], object],
) -> Path:
    """A folder that `make` fills once for each content of the sources, for all workers and runs."""
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted((ROOT / source).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    for package in ("duckdb", "h5py", "numpy", "polars", "pyarrow", "pynwb"):
        digest.update(f"{package} {version(package)}\0".encode())
    # Without pytest's cache (-p no:cacheprovider) each run makes its own.
    cache = getattr(pytestconfig, "cache", None)
    parent = cache.mkdir(f"vblake-{name}") if cache else tmp_path_factory.mktemp(name)
    with FileLock(parent / ".lock"):
        folder = parent / digest.hexdigest()[:16]
        if not (folder / ".made").exists():
            for other in [p for p in parent.iterdir() if p.is_dir()]:
                shutil.rmtree(other)
            make(folder / name)
            (folder / ".made").touch()
    return folder / name


@pytest.fixture(scope="session")
def sample_bucket(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic bucket of two mice; tests must not change it."""

    def make(folder: Path) -> None:
        from pipelines.sample.bucket import write_sample  # imports pynwb, which takes 2 s

        write_sample(folder, mice=2, seed=7)

    return _cached(pytestconfig, tmp_path_factory, "bucket", ("pipelines/sample",), make)


@pytest.fixture(scope="session")
def sample_lake(
    sample_bucket: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The whole sample bucket as a lake; tests must not change it."""

    def make(folder: Path) -> None:
        ingest(prepare(IngestRequest(SourceSpec(str(sample_bucket)), str(folder), workers=0)))

    return _cached(pytestconfig, tmp_path_factory, "lake", ("pipelines", "schemas"), make)


@pytest.fixture(scope="session")
def reference_lake(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole reference bucket beside the repository as a lake; tests must not change it."""

    def make(folder: Path) -> None:
        tables = tuple(name for name, t in TABLES.items() if t.subject is not Subject.LEDGER)
        source, chosen = SourceSpec(str(REFERENCE / "bucket")), Selection(tables=tables)
        ingest(prepare(IngestRequest(source, str(folder), selection=chosen, workers=2)))

    return _cached(pytestconfig, tmp_path_factory, "reference", ("pipelines", "schemas"), make)


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
        release: str | None = None,
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
