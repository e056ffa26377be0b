"""From bucket to lake, in this process: what is published, kept, replaced and quarantined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders.fixtures import Ingest
from builders.lakes import behavior_file, contents, edit, file_key, files, query

from pipelines.ingest import MouseReport, ingest, prepare
from pipelines.lake.store import LocalStore
from pipelines.nwb.recording import Recording, Rows
from pipelines.release.selection import Selection
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


def test_every_file_of_the_bucket_is_ingested(sample_bucket: Path, sample_lake: Path) -> None:
    names = {file_key(p) for p in sample_bucket.rglob("*.nwb")}
    assert _entries(sample_lake) == dict.fromkeys(names, ("ingested", None))
    assert not (sample_lake / "_staging").exists()


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
    new, old = (
        query(where, "SELECT max(ingested_at) FROM source_files")[0][0]
        for where in (lake, sample_lake)
    )
    assert new > old


def test_the_first_mouse_can_be_queried_while_the_others_are_converted(
    sample_bucket: Path, tmp_path: Path
) -> None:
    lake, seen = tmp_path / "lake", list[int]()

    def look(report: MouseReport) -> None:
        seen.append(report.mouse_id)
        assert {mouse for (mouse,) in query(lake, "SELECT DISTINCT mouse_id FROM trials")} >= set(
            seen
        )

    ingest(
        prepare(IngestRequest(SourceSpec(str(sample_bucket)), str(lake), workers=0)), on_mouse=look
    )
    assert len(seen) > 1


def test_tables_can_be_added_later(
    sample_bucket: Path, sample_lake: Path, tmp_path: Path, run_ingest: Ingest
) -> None:
    lake = tmp_path / "lake"
    run_ingest(sample_bucket, lake, tables=("trials", "dff_traces"))
    assert query(lake, "SELECT count(*) FROM licks") == [(0,)]
    assert query(lake, "SELECT count(*) FROM trials") == query(
        sample_lake, "SELECT count(*) FROM trials"
    )
    run_ingest(sample_bucket, lake)
    assert contents(lake) == contents(sample_lake)
    assert query(lake, "SELECT count(*) FROM demixed_traces") == [(0,)]
    run_ingest(sample_bucket, lake, tables=("demixed_traces", "neuropil_traces"))
    assert query(lake, "SELECT count(*) FROM demixed_traces") == query(
        lake, "SELECT count(*) FROM dff_traces"
    )
    counted = query(
        lake,
        "SELECT DISTINCT list_sort([r.table_name FOR r IN row_counts]) FROM source_files WHERE ophys_experiment_id IS NOT NULL AND gives_behavior",
    )
    assert counted == [
        (
            sorted(
                t.name
                for t in TABLES.values()
                if t.subject.value in ("behavior", "ophys", "stimulus")
            ),
        )
    ]


def test_behaviour_comes_once_per_session_from_the_first_listed_plane(sample_lake: Path) -> None:
    giving = query(
        sample_lake,
        "SELECT s.behavior_session_id, list(f.file_key) FILTER (f.gives_behavior), any_value(s.ophys_experiment_id[1]), count(*) "
        "FROM behavior_sessions s JOIN source_files f USING (behavior_session_id) "
        "WHERE s.ophys_experiment_id IS NOT NULL GROUP BY 1",
    )
    assert any(planes > 1 for *_, planes in giving)
    assert all(keys == [first] for _, keys, first, _ in giving)
    assert (
        query(
            sample_lake,
            "SELECT count(*), count(DISTINCT (behavior_session_id, trials_id)) FROM trials",
        )[0][0]
        > 0
    )
    repeated = query(
        sample_lake,
        "SELECT behavior_session_id FROM task_parameters GROUP BY 1 HAVING count(*) > 1",
    )
    assert repeated == []


def test_earlier_good_data_of_a_file_that_turned_bad_stays(
    bucket: Path, lake: Path, sample_lake: Path, run_ingest: Ingest
) -> None:
    bad = behavior_file(bucket)
    with edit(bad) as h5:
        del h5["/intervals/trials/hit"]
    run_ingest(bucket, lake, force=True, behavior_sessions=(file_key(bad),))
    status, error = _entries(lake)[file_key(bad)]
    assert status == "quarantined"
    assert error == (
        f"file visual-behavior-ophys/behavior_sessions/{bad.name}, table trials, column /intervals/trials/hit: a dataset is missing; "
        "expected a dataset; found nothing"
    )
    assert contents(lake) == contents(sample_lake)
    counts = f"SELECT row_counts FROM source_files WHERE file_key = {file_key(bad)}"
    assert query(lake, counts) == query(sample_lake, counts)


def test_a_file_of_another_session_is_refused(
    bucket: Path, tmp_path: Path, run_ingest: Ingest
) -> None:
    first, second = behavior_file(bucket, 0), behavior_file(bucket, 1)
    first.write_bytes(second.read_bytes())
    run_ingest(bucket, tmp_path / "lake", behavior_sessions=(file_key(first),))
    assert _entries(tmp_path / "lake")[file_key(first)] == (
        "quarantined",
        f"file visual-behavior-ophys/behavior_sessions/{first.name}, column behavior_session_id: the file is of another recording than the release says; "
        f"expected {file_key(first)}; found {file_key(second)}. The manifest or the object is wrong.",
    )


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
    run_ingest(bucket, lake)
    status, error = _entries(lake)[file_key(gone)]
    assert status == "skipped"
    assert error
    assert run_ingest(bucket, lake) == []


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


def test_a_lake_holds_one_release(lake: Path, bucket: Path, run_ingest: Ingest) -> None:
    manifests = bucket / "visual-behavior-ophys/manifests"
    text = (
        next(manifests.iterdir())
        .read_text()
        .replace('"manifest_version": "1.1.0"', '"manifest_version": "1.2.0"')
    )
    (manifests / "visual-behavior-ophys_project_manifest_v1.2.0.json").write_text(text)
    with pytest.raises(LakeError) as caught:
        run_ingest(bucket, lake)
    assert str(caught.value) == (
        f"{lake} holds release 1.1.0, not 1.2.0. Keep one lake per release: give another --lake, or --release 1.1.0."
    )


def test_what_an_interrupted_run_had_converted_is_not_converted_again(
    sample_bucket: Path,
    sample_lake: Path,
    tmp_path: Path,
    run_ingest: Ingest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = tmp_path / "lake"
    monkeypatch.setattr(
        "pipelines.ingest.publish_mouse", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        run_ingest(sample_bucket, lake)
    monkeypatch.undo()
    converted = {p.parent.name.partition("-")[0] for p in (lake / "_staging").glob("*/result.json")}
    assert converted
    request = IngestRequest(
        SourceSpec(str(sample_bucket)), str(lake), selection=Selection(), workers=0
    )
    seen: list[str] = []
    monkeypatch.setattr("pipelines.convert.file.convert_file", _noting(seen))
    ingest(prepare(request))
    assert seen
    assert not converted & set(seen)
    assert contents(lake) == contents(sample_lake)


def test_a_forced_run_that_stops_while_it_publishes_is_completed_by_the_next(
    bucket: Path,
    lake: Path,
    tmp_path: Path,
    run_ingest: Ingest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = behavior_file(bucket)
    with edit(changed) as h5:
        h5["/intervals/trials/reward_volume"][...] *= 2
        h5["/processing/rewards/volume/data"][...] *= 2
    calls = 0

    def publish(self: LocalStore, staged: Path, path: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        original(self, staged, path)

    original = LocalStore.publish
    monkeypatch.setattr(LocalStore, "publish", publish)
    with pytest.raises(KeyboardInterrupt):
        run_ingest(bucket, lake, force=True, behavior_sessions=(file_key(changed),))
    monkeypatch.undo()
    run_ingest(bucket, lake)
    run_ingest(bucket, tmp_path / "other")
    assert contents(lake) == contents(tmp_path / "other")
    assert run_ingest(bucket, lake) == []


def test_what_another_ingest_has_done_meanwhile_is_not_done_again(
    sample_bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        prepare(IngestRequest(SourceSpec(str(sample_bucket)), str(tmp_path / "lake"), workers=0))
        for _ in range(2)
    )
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


def test_an_oversight_with_one_file_does_not_keep_the_others_out(
    sample_bucket: Path, tmp_path: Path, run_ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.nwb.readers import READERS

    bad = file_key(behavior_file(sample_bucket))

    def clumsy(recording: Recording) -> Iterator[Rows]:
        if recording.behavior_session_id == bad:
            raise ZeroDivisionError("oops")
        return READERS["licks"](recording)

    monkeypatch.setattr("pipelines.convert.file.READERS", {**READERS, "licks": clumsy})
    run_ingest(sample_bucket, tmp_path / "lake")
    entries = _entries(tmp_path / "lake")
    status, error = entries.pop(bad)
    assert status == "quarantined"
    assert error is not None
    assert error.startswith(
        f"file visual-behavior-ophys/behavior_sessions/behavior_session_{bad}.nwb: vblake failed with ZeroDivisionError: oops (test_ingest.py, line "
    )
    assert error.endswith("This is a mistake in vblake; please report it with this line.")
    assert set(entries.values()) == {("ingested", None)}
