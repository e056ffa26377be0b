"""Image sets are the union of what their sessions show, in whatever order these are ingested."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from builders.command import until
from builders.fixtures import Ingest
from builders.lakes import behavior_file, contents, edit, file_key, query

from pipelines.check.lake import verify
from pipelines.convert.file import convert_file
from pipelines.convert.staged import staged_images
from pipelines.ingest import MouseReport
from pipelines.lake.store import LocalStore
from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas.checks import Level


def _set_of(path: Path) -> tuple[str, list[str]]:
    """The image set of a file and the names of its images."""
    with h5py.File(path) as h5:
        ((name, group),) = h5["/stimulus/templates"].items()
        return name, [n.decode() for n in group["control_description"]]


def _keep(path: Path, images: Sequence[str]) -> None:
    """Removes all other images from a file, as if its session had not come to them."""
    with edit(path) as h5:
        (group,) = h5["/stimulus/templates"].values()
        names = [n.decode() for n in group["control_description"]]
        rows = [names.index(image) for image in images]
        for name in ("control_description", "data", "unwarped"):
            kept: Any = group[name][:][rows]
            del group[name]
            group[name] = kept


@pytest.fixture
def sharing(bucket: Path) -> list[Path]:
    """Three behaviour files with one image set, of which each shows other images."""
    by_set: dict[str, list[Path]] = {}
    folder = behavior_file(bucket).parent
    for path in sorted(folder.glob("*.nwb")):
        by_set.setdefault(_set_of(path)[0], []).append(path)
    files = next(paths for paths in by_set.values() if len(paths) >= 3)[:3]
    images = _set_of(files[0])[1]
    for path, kept in zip(files, (images[:1], images[3:], images[2:5]), strict=True):
        _keep(path, kept)
    return files


def _images(lake: Path) -> set[str]:
    return {name for (name,) in query(lake, "SELECT image_name FROM stimulus_templates")}


def _errors(reports: list[MouseReport]) -> list[str]:
    return [e.error or "" for r in reports for e in r.quarantined]


def test_a_set_has_the_images_of_all_sessions_in_any_order(
    bucket: Path, sharing: list[Path], tmp_path: Path, run_ingest: Ingest
) -> None:
    def errors(lake: Path, *keys: int, force: bool = False) -> list[str]:
        tables = ("stimulus_templates", "stimulus_presentations")
        reports = run_ingest(bucket, lake, force=force, behavior_sessions=keys, tables=tables)
        return _errors(reports)

    keys = [file_key(path) for path in sharing]
    one = tmp_path / "one"
    assert errors(one, *keys) == []
    assert _images(one) == {name for path in sharing for name in _set_of(path)[1]}
    for order in (keys, keys[::-1]):
        several = tmp_path / f"several-{order[0]}"
        for key in order:
            assert errors(several, key) == []
        assert contents(one) == contents(several)
        assert [p for p in verify(LocalStore(several)) if p.level is Level.ERROR] == []
    before = contents(one)
    assert errors(one, *keys, force=True) == []
    assert contents(one) == before


def test_another_picture_under_the_name_is_refused_and_nothing_else(
    bucket: Path, sharing: list[Path], tmp_path: Path, run_ingest: Ingest
) -> None:
    first, other, second = sharing
    lake = tmp_path / "lake"
    image_set, names = _set_of(other)
    both = next(name for name in names if name in _set_of(second)[1])
    with edit(second) as h5:
        group = h5[f"/stimulus/templates/{image_set}"]
        row = [n.decode() for n in group["control_description"]].index(both)
        group["data"][row] = 255 - group["data"][row]
    keys = tuple(map(file_key, (first, other)))
    assert _errors(run_ingest(bucket, lake, behavior_sessions=keys)) == []
    before = contents(lake)
    prefix = "visual-behavior-ophys/behavior_sessions"
    (report,) = run_ingest(bucket, lake, behavior_sessions=(file_key(second),))
    (table,) = report.entries[0].held_back
    assert (table.table, table.rule) == ("stimulus_templates", "same_image")
    assert table.expected == f"the picture in {prefix}/{other.name}"
    assert table.found == f"another size or other pixels of {both} in {image_set}"
    after = contents(lake)
    assert after["stimulus_templates"] == before["stimulus_templates"]
    assert len(after["task_parameters"]) == len(before["task_parameters"]) + 1


def test_a_worker_converts_the_tables_while_another_one_writes_the_images(
    bucket: Path, sharing: list[Path], tmp_path: Path
) -> None:
    selection = Selection(behavior_sessions=(file_key(sharing[1]),))
    prepared = prepare(
        IngestRequest(SourceSpec(str(bucket)), str(tmp_path / "lake"), selection=selection)
    )
    (task,), settings = prepared.todo, prepared.settings
    alone = convert_file(task, settings)
    images = staged_images(settings.staging, alone.images)
    images.unlink()
    last = [path.name for name in alone.row_counts if (path := alone.staged(name))][-1]
    with ThreadPoolExecutor(1) as worker:
        with images.with_suffix(".lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            converting = worker.submit(convert_file, task, settings)
            until(lambda: len([*settings.staging.glob(f"*/{last}")]) == 2, 60, 0.01)
            assert not converting.done()
            assert not images.exists()
        assert converting.result().images == alone.images
    assert images.exists()


def test_an_interrupted_run_whose_images_are_lost_converts_the_file_again(
    bucket: Path,
    sharing: list[Path],
    tmp_path: Path,
    run_ingest: Ingest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, key = tmp_path / "lake", file_key(sharing[1])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.ingest.publish_mouse", stop)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(bucket, lake, behavior_sessions=(key,))
    images = sorted((lake / "_staging/images").glob("*.parquet"))
    assert images
    images[0].write_bytes(np.random.default_rng(1).bytes(100))
    assert _errors(run_ingest(bucket, lake, behavior_sessions=(key,))) == []
    assert _images(lake) == set(_set_of(sharing[1])[1])
