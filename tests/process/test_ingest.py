"""From bucket to lake, in this process: what is published, kept, replaced and quarantined."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from builders.fixtures import Ingest
from builders.lakes import behavior_file, contents, file_key, files, query

from pipelines.ingest import begun, ingest
from pipelines.lake.state import LastRun
from pipelines.lake.store import LocalStore
from pipelines.nwb.recording import Recording, Rows
from pipelines.prepare import prepare
from pipelines.release.selection import FileKind, FileTask, Selection
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec
from schemas import TABLES
from schemas.errors import LakeError
from schemas.layout import CATALOG


def _entries(lake: Path) -> dict[int, tuple[str, str | None]]:
    return {
        key: (status, error)
        for key, status, error in query(lake, "SELECT file_key, status, error FROM source_files")
    }


def test_ingesting_twice_changes_no_file(
    sample_bucket: Path, lake: Path, run_ingest: Ingest
) -> None:
    before = files(lake)
    assert run_ingest(sample_bucket, lake) == []
    assert files(lake) == before


def test_forcing_converts_again_to_the_same_rows(
    sample_bucket: Path, lake: Path, sample_lake: Path, run_ingest: Ingest
) -> None:
    reports = run_ingest(sample_bucket, lake, force=True)
    assert sum(len(r.entries) for r in reports) == len(_entries(lake))
    assert contents(lake) == contents(sample_lake)
    last = LastRun.of(LocalStore(lake))
    assert last is not None
    assert last.files == sum(e[0] != "skipped" for e in _entries(lake).values())
    assert last.bytes > 0 < last.seconds
    new, old = (
        query(where, "SELECT max(ingested_at) FROM source_files")[0][0]
        for where in (lake, sample_lake)
    )
    assert new > old


def test_tables_can_be_added_later(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, run_ingest: Ingest
) -> None:
    lake = tmp_path / "lake"
    run_ingest(sample_bucket, lake, tables=("trials", "dff_traces"))
    assert query(lake, "SELECT count(*) FROM licks") == [(0,)]
    run_ingest(sample_bucket, lake)
    assert contents(lake) == contents(sample_lake)
    assert query(lake, "SELECT count(*) FROM demixed_traces") == [(0,)]
    run_ingest(sample_bucket, lake, tables=tuple(t.name for t in TABLES.values() if t.by_name_only))
    assert query(lake, "SELECT count(*) FROM demixed_traces") == query(
        lake, "SELECT count(*) FROM dff_traces"
    )
    ((counted,),) = query(
        lake,
        'SELECT DISTINCT list_sort([t."table" FOR t IN tables '
        "IF t.status IN ('ingested', 'absent')]) FROM source_files "
        "WHERE ophys_experiment_id IS NOT NULL AND gives_behavior",
    )
    of_files = ("behavior", "ophys", "stimulus")
    assert counted == sorted(t.name for t in TABLES.values() if t.subject.value in of_files)


def test_behaviour_comes_once_per_session_from_the_first_listed_plane(sample_lake: Path) -> None:
    giving = query(
        sample_lake,
        "SELECT list(f.file_key) FILTER (f.gives_behavior), any_value(s.ophys_experiment_id[1]), "
        "count(*) FROM behavior_sessions s JOIN source_files f USING (behavior_session_id) "
        "WHERE s.ophys_experiment_id IS NOT NULL GROUP BY s.behavior_session_id",
    )
    assert any(planes > 1 for *_, planes in giving)
    assert all(keys == [first] for keys, first, _ in giving)


def test_files_that_the_release_lacks_are_noted_once(
    bucket: Path, tmp_path: Path, run_ingest: Ingest
) -> None:
    manifest = next((bucket / "visual-behavior-ophys/manifests").iterdir())
    content = json.loads(manifest.read_text())
    gone = behavior_file(bucket)
    content["data_files"] = {
        k: v for k, v in content["data_files"].items() if not v["url"].endswith(gone.name)
    }
    manifest.write_text(json.dumps(content))
    lake = tmp_path / "lake"
    run_ingest(bucket, lake, tables=("trials",))
    status, error = _entries(lake)[file_key(gone)]
    assert status == "skipped"
    assert error
    assert run_ingest(bucket, lake, tables=("trials",)) == []


def test_a_folder_with_other_things_is_not_taken_for_a_lake(
    sample_bucket: Path, tmp_path: Path, run_ingest: Ingest
) -> None:
    (tmp_path / "thesis.docx").write_text("precious")
    with pytest.raises(LakeError) as caught:
        run_ingest(sample_bucket, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not empty and not a vblake lake (it has no _lake.json). Give an empty or new folder as --lake."
    )
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_lake_that_follows_latest_goes_over_to_a_new_release_and_a_pinned_one_stays(
    lake: Path, bucket: Path, run_ingest: Ingest
) -> None:
    manifests = bucket / "visual-behavior-ophys/manifests"
    text = (
        next(manifests.iterdir())
        .read_text()
        .replace('"manifest_version": "1.1.0"', '"manifest_version": "1.2.0"')
    )
    (manifests / "visual-behavior-ophys_project_manifest_v1.2.0.json").write_text(text)
    before = contents(lake)
    assert run_ingest(bucket, lake, release="1.1.0") == []  # pins it
    assert run_ingest(bucket, lake) == []
    assert query(lake, "SELECT DISTINCT release FROM source_files") == [("1.1.0",)]
    assert run_ingest(bucket, lake, release="latest") == []  # no file is read again
    assert query(lake, "SELECT DISTINCT release FROM source_files") == [("1.2.0",)]
    assert contents(lake) == before


def test_what_another_ingest_has_done_meanwhile_is_not_done_again(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trials = SourceSpec(str(sample_bucket)), Selection(tables=("trials",))
    request = IngestRequest(source, str(tmp_path / "lake"), selection=trials, workers=0)
    first, second = prepare(request), prepare(request)
    ingest(first)
    before = files(tmp_path / "lake")
    seen: list[str] = []
    monkeypatch.setattr("pipelines.convert.file.convert_file", _noting(seen))
    ingest(second)
    assert seen == []
    assert {n: f for n, f in files(tmp_path / "lake").items() if n != CATALOG} == {
        n: f for n, f in before.items() if n != CATALOG
    }


def _noting(seen: list[str]) -> object:
    from pipelines.convert.file import convert_file

    def convert(task: object, settings: object) -> object:
        seen.append(f"{task.kind.value}_{task.file_key}")  # type: ignore[attr-defined]
        return convert_file(task, settings)  # type: ignore[arg-type]

    return convert


def test_a_behaviour_file_is_converted_after_the_last_planes_of_other_mice(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, lake = SourceSpec(str(sample_bucket)), str(tmp_path / "lake")
    prepared = prepare(IngestRequest(source, lake, workers=1))
    by_size = sorted(prepared.todo, key=lambda task: task.bytes or 0, reverse=True)
    planes = [task for task in by_size if task.kind is FileKind.OPHYS_EXPERIMENT]
    longest = planes[0]
    second, third = [task for task in planes if task.mouse_id != longest.mouse_id][:2]
    behavior = next(
        task
        for task in by_size
        if task.kind is FileKind.BEHAVIOR_SESSION and task.mouse_id == longest.mouse_id
    )
    seen: list[FileTask] = []

    @contextmanager
    def converting(tasks: list[FileTask], *_: object, **__: object) -> Generator[Iterator[object]]:
        seen.extend(tasks)
        yield iter(())

    monkeypatch.setattr("pipelines.ingest.converting", converting)
    with begun(replace(prepared, todo=(longest, behavior, second, third))):
        pass
    assert seen == [longest, second, third, behavior]


def test_an_oversight_with_one_file_does_not_keep_the_others_out(
    sample_bucket: Path, tmp_path: Path, run_ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.nwb.readers import READERS

    bad = file_key(behavior_file(sample_bucket))

    def clumsy(recording: Recording) -> Iterator[Rows]:
        if recording.behavior_session_id == bad:
            raise ZeroDivisionError("oops")
        return READERS["licks"](recording)

    monkeypatch.setattr("pipelines.convert.table.READERS", {**READERS, "licks": clumsy})
    run_ingest(sample_bucket, tmp_path / "lake", tables=("licks", "trials"))
    entries = _entries(tmp_path / "lake")
    assert entries.pop(bad) == ("partial", None)
    ((table, rule, found),) = query(
        tmp_path / "lake",
        "SELECT \"table\", rule, found FROM _held_back WHERE rule <> 'parent_held_back'",
    )
    assert (table, rule) == ("licks", "reader_failed")
    assert found.startswith("vblake failed with ZeroDivisionError: oops (test_ingest.py, line ")
    assert set(entries.values()) == {("ingested", None)}
