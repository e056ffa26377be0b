"""What is announced to a remote file is what the readers read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from builders.lakes import behavior_file, experiment_file
from builders.network import small_distances
from builders.nwb import read
from builders.remote import Remote

from pipelines.nwb.prefetch import PATHS, prefetch
from pipelines.nwb.readers import READERS
from pipelines.nwb.recording import Recording, open_recording
from pipelines.nwb.templates import image_digests
from pipelines.source.range_file import RangeFile, merged
from schemas import TABLES, Subject
from schemas.errors import DataError, TransientSourceError

FAILURE = TransientSourceError("the bucket did not answer")
TEMPLATES = "stimulus_templates"
OPHYS = [name for name in READERS if TABLES[name].subject is Subject.OPHYS]
RESPONSES = ("stimulus_responses", "mean_responses")
BEHAVIOR = [name for name in READERS if name not in OPHYS and name != TEMPLATES]


@contextmanager
def remote(
    path: Path, fail_from: int | None = None
) -> Generator[tuple[Recording, RangeFile, Remote]]:
    """A file as a remote object, of which requests from a number on fail."""
    local = Remote(
        path.read_bytes(),
        fail=lambda number: FAILURE if fail_from is not None and number >= fail_from else None,
    )
    with closing(local.open()) as file, open_recording(file, path.name) as recording:
        yield recording, file, local


def as_text(table: str, recording: Recording) -> str:
    """A table in full, with NaN equal to NaN."""
    return repr(read(table, recording).to_pydict())


def tables_of(path: Path) -> list[str]:
    return list(READERS) if "experiment" in path.name else [*BEHAVIOR, TEMPLATES]


@pytest.fixture(params=["behavior 0", "experiment 0"])
def a_file(request: pytest.FixtureRequest, sample_bucket: Path) -> Path:
    kind, nth = request.param.split()
    return (behavior_file if kind == "behavior" else experiment_file)(sample_bucket, int(nth))


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> None:
    small_distances(monkeypatch)


def test_every_reader_has_its_paths() -> None:
    assert set(PATHS) == set(READERS)


@pytest.mark.parametrize("proportions", ["real", "small"])
def test_every_table_is_the_same_as_read_locally(
    a_file: Path, proportions: str, request: pytest.FixtureRequest
) -> None:
    if proportions == "small":
        request.getfixturevalue("spread")
    tables = tables_of(a_file)
    with open_recording(a_file, a_file.name) as here:
        expected = {table: as_text(table, here) for table in tables}
        digests = image_digests(here)
    for chosen in (*([t] for t in tables), tables):
        with remote(a_file) as (recording, file, _):
            prefetch(recording, chosen, file, signature=True)
            assert {table: as_text(table, recording) for table in chosen} == {
                table: expected[table] for table in chosen
            }
            assert image_digests(recording) == digests


ON_DEMAND = 3
"""Requests that reading a table may still make, for strings of attributes, which lie apart from
them. At real scale there are none; HDF5's own pieces do not shrink with the sample."""


def test_hardly_anything_is_fetched_that_was_not_announced(a_file: Path, spread: None) -> None:
    tables = tables_of(a_file)
    more: dict[str, int] = {}
    for chosen in (*([t] for t in tables), tables):
        with remote(a_file) as (recording, file, _):
            known = TEMPLATES not in chosen
            prefetch(recording, chosen, file, signature=known)
            before = file.on_demand
            for table in chosen:
                for _ in READERS[table](recording):
                    pass
            if known:
                image_digests(recording)
            more[", ".join(chosen)] = file.on_demand - before
    assert {name: n for name, n in more.items() if n > ON_DEMAND} == {}


def test_no_byte_is_fetched_twice(a_file: Path) -> None:
    with remote(a_file) as (recording, file, local):
        # A conversion computes responses while it reads the traces. Read alone, as here, they read
        # the traces again.
        tables = [name for name in tables_of(a_file) if name not in RESPONSES]
        prefetch(recording, tables, file)
        for table in tables:
            for _ in READERS[table](recording):
                pass
    assert sum(stop - start for start, stop in merged(local.asked)) == sum(
        stop - start for start, stop in local.asked
    )


@pytest.mark.parametrize("kind", ["behavior", "experiment"])
def test_a_failed_request_is_never_taken_for_something_missing(
    kind: str, sample_bucket: Path, spread: None
) -> None:
    path = (behavior_file if kind == "behavior" else experiment_file)(sample_bucket, 1)
    tables = tables_of(path)
    with remote(path) as (recording, file, local):
        opened = len(local.asked)
        prefetch(recording, tables, file, signature=True)
        for table in tables:
            read(table, recording)
        total = len(local.asked)
    for failing in range(opened, total, 5):
        with remote(path, failing) as (recording, file, local):
            with suppress(TransientSourceError, DataError):
                prefetch(recording, tables, file, signature=True)
                for table in tables:
                    read(table, recording)
                pytest.fail(f"request {failing} failed, and all tables were read")
            # Whatever the readers made of it, `opened` raises this.
            assert file.failure is FAILURE
