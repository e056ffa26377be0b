"""A bad network, by seed: faults that pass leave no trace in the lake, others fail one file only."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from builders.cli import refusal
from builders.command import vblake
from builders.lakes import behavior_file, contents, edit, file_key, query
from builders.network import (
    ingest_from,
    manifest_of,
    quarantined,
    source_of,
    unversioned,
    without_waits,
)
from servers.chaos import ANY, BODY, DEFINITE, LISTING, STALL_S, Chaos
from servers.moto import moto
from servers.objects import Fault, RequestInfo
from servers.s3 import BUCKET, S3Server

from pipelines.prepare import prepare
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.sample.bucket import write_sample
from pipelines.source.base import SourceSpec
from schemas import TABLES, Subject

SOME = ("trials", "stimulus_templates", "dff_traces")
BUT_SOME = tuple(
    name
    for name, table in TABLES.items()
    if name not in SOME and table.subject is not Subject.PROJECT
)


@pytest.fixture(scope="module")
def one_mouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket of one mouse."""
    folder = tmp_path_factory.mktemp("one") / "bucket"
    write_sample(folder, mice=1, seed=3)
    return folder


@pytest.fixture(scope="module")
def undisturbed(one_mouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of that bucket."""
    lake = tmp_path_factory.mktemp("undisturbed") / "lake"
    ingest_from(SourceSpec(str(one_mouse)), lake)
    return lake


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_waits(monkeypatch)


# --- faults that pass


def test_passing_faults_change_nothing(
    one_mouse: Path,
    undisturbed: Path,
    tmp_path: Path,
    soak: bool,
    seed: int,
    figure: Callable[[str], None],
    no_waiting: None,
) -> None:
    """One request in ten goes wrong; in turn over ranges, with the hash, and without versions."""
    plain = unversioned(one_mouse, tmp_path / "plain")
    struck, asked, cases = Counter[str](), 0, 40 if soak else 3
    for case in range(cases):
        chaos = Chaos(seed * 1000 + case)
        kept = case % 3 != 2
        selection, left_out = (
            (Selection(), ("source_files",)) if soak else (Selection(tables=SOME), BUT_SOME)
        )
        with S3Server(one_mouse if kept else plain, faults=chaos, versioned=kept, page=4) as server:
            more = {"verify_hash": True} if case % 3 == 1 else {}
            ingest_from(source_of(server), tmp_path / "lake", selection=selection, **more)
            asked += server.counters.requests.total()
        assert quarantined(tmp_path / "lake") == {}, f"case {case} of seed {seed}"
        found = contents(tmp_path / "lake", without=left_out)
        assert found == contents(undisturbed, without=left_out), f"case {case} of seed {seed}"
        struck += chaos.struck
        shutil.rmtree(tmp_path / "lake", ignore_errors=True)
    assert struck.total() > asked / 20
    kinds = ", ".join(f"{count} {kind}" for kind, count in struck.most_common())
    figure(
        f"network: {cases} ingests with {asked} requests, {struck.total()} of them disturbed ({kinds}): equal to an undisturbed one"
    )


def test_the_command_goes_on(one_mouse: Path, undisturbed: Path, tmp_path: Path, seed: int) -> None:
    """With worker processes, real waits, and the time-outs of the command line."""
    chaos = Chaos(seed, 0.1)
    with S3Server(one_mouse, faults=chaos) as server:
        place = ("--lake", tmp_path / "lake", "--endpoint-url", server.url)
        options = ("--tables", "trials", "--workers", "2", "--timeout", str(STALL_S / 2))
        done = vblake("ingest", *place, *options)
    assert done.returncode == 0, done.stderr.decode()
    assert chaos.struck
    rows = "SELECT COLUMNS(*)::VARCHAR FROM trials ORDER BY ALL"
    assert query(tmp_path / "lake", rows) == query(undisturbed, rows)


def test_an_object_that_is_replaced_while_it_is_read_is_one_or_the_other(
    bucket: Path, tmp_path: Path, seed: int, no_waiting: None
) -> None:
    """In a bucket without versions: never the first half of one and the second half of another."""
    old = behavior_file(bucket, 1)
    key, session = str(old.relative_to(bucket)), file_key(old)
    (bucket / "new").write_bytes(old.read_bytes())
    with edit(bucket / "new") as h5:
        for name in ("timestamps", "data"):
            h5[f"/processing/running/speed/{name}"][:] += 1000.0
    plain = unversioned(bucket, tmp_path / "plain")
    last = random.Random(seed).randrange(1, 8)
    files = {key: {"1": key}}
    count = Counter[str]()

    def replaced(request: RequestInfo, _: int) -> None:
        if request.key == key and request.kind == "range":
            count["ranges"] += 1
            if count["ranges"] == last:
                files[key] = {"2": "new"}

    with (
        S3Server(plain, faults=replaced, versioned=False, versions=files) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("pipelines.source.range_file.PART", 16 << 10)
        selection = Selection(
            behavior_sessions=(session,), tables=("running_speed", "raw_running_speed", "trials")
        )
        ingest_from(source_of(server), tmp_path / "lake", selection=selection)
    assert count["ranges"] > last, f"seed {seed}"
    assert quarantined(tmp_path / "lake") == {}
    assert query(
        tmp_path / "lake", "SELECT min(speed) > 500, min(timestamps) > 1000 FROM running_speed"
    ) == [(True, True)]


# --- a server of others


def test_a_bucket_on_another_server_gives_the_same_lake(
    one_mouse: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """moto's answers are not ours: ids and ETags of its own, newer objects over the pinned ones."""
    copy = unversioned(one_mouse, tmp_path / "copy")
    path = manifest_of(copy)
    manifest = json.loads(path.read_text())
    with moto() as (endpoint, s3):
        place = {"LocationConstraint": "us-west-2"}
        s3.create_bucket(Bucket="lab", ACL="public-read", CreateBucketConfiguration=place)
        s3.put_bucket_versioning(Bucket="lab", VersioningConfiguration={"Status": "Enabled"})

        def put(key: str, content: bytes) -> str:
            answer = s3.put_object(Bucket="lab", Key=key, Body=content, ACL="public-read")
            return cast("str", answer["VersionId"])

        for entry in (*manifest["metadata_files"].values(), *manifest["data_files"].values()):
            key = entry["url"].split(".com/")[1]
            entry["version_id"] = put(key, (one_mouse / key).read_bytes())
            put(key, b"of a later release")
        put(path.relative_to(copy).as_posix(), json.dumps(manifest).encode())
        ingest_from(
            SourceSpec("s3://lab", endpoint, attempts=1),
            tmp_path / "lake",
            selection=Selection(tables=SOME),
        )
    assert quarantined(tmp_path / "lake") == {}
    assert contents(tmp_path / "lake", without=BUT_SOME) == contents(undisturbed, without=BUT_SOME)


# --- faults that last


LASTING = ANY | BODY | DEFINITE


def test_lasting_faults_fail_their_file_only(
    one_mouse: Path, undisturbed: Path, tmp_path: Path, soak: bool, seed: int, no_waiting: None
) -> None:
    """Each kind befalls all later ranges of one file; the next ingest completes the lake.

    tests/network/test_object_store.py has what is said of each.
    """
    files = sorted(p.relative_to(one_mouse).as_posix() for p in one_mouse.rglob("*.nwb"))
    kinds = list(LASTING) if soak else random.Random(seed).sample(list(LASTING), len(files) - 1)
    lock = threading.Lock()
    while kinds:
        now, kinds = dict(zip(files[1:], kinds, strict=False)), kinds[len(files) - 1 :]
        seen = Counter[str]()

        def faults(
            request: RequestInfo, _: int, now: dict[str, str] = now, seen: Counter[str] = seen
        ) -> Fault | None:
            if request.kind != "range" or request.key not in now:
                return None
            with lock:
                seen[request.key] += 1
            return LASTING[now[request.key]] if seen[request.key] > 1 else None

        lake = tmp_path / f"lake{len(kinds)}"
        with S3Server(one_mouse, faults=faults) as server:
            selection = Selection(tables=("trials", "ophys_timestamps"))
            ingest_from(source_of(server, attempts=2), lake, selection=selection)
            found = quarantined(lake)
            assert found.keys() == now.keys()
            versions = server.counters.versions
            for key, (error, moved) in found.items():
                (version,) = versions[key]
                assert error.startswith(
                    f"{key} (version {version}) in s3://{BUCKET} at {server.url}: "
                )
                assert "\n" not in error
                assert 0 < moved <= server.counters.bytes_sent[key]
            server.faults = None
            ingest_from(source_of(server), lake, selection=selection)
        rows = "SELECT COLUMNS(*)::VARCHAR FROM trials ORDER BY ALL"
        assert quarantined(lake) == {}
        assert query(lake, rows) == query(undisturbed, rows)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("visual-behavior-ophys/", "cut XML"),
        ("manifests/", "short body"),
        ("project_metadata/ophys_session_table", "404"),
    ],
)
def test_a_listing_manifest_or_table_that_fails_is_one_line(
    one_mouse: Path, tmp_path: Path, part: str, kind: str, no_waiting: None
) -> None:
    fault = (BODY | DEFINITE | LISTING)[kind]
    with S3Server(
        one_mouse,
        faults=lambda r, _: (
            fault if part in r.key and (r.kind == "list") == (kind in LISTING) else None
        ),
    ) as server:
        options = ("--endpoint-url", server.url, "--retries", "1", "--timeout", "0.5")
        line = refusal("plan", "--lake", tmp_path / "lake", *options, code=1)
    assert line.startswith("error: ")
    assert part in line
    assert f" in s3://{BUCKET} at {server.url}: " in line
    assert "\n" not in line


def test_a_table_damaged_on_its_way_is_read_again(one_mouse: Path, no_waiting: None) -> None:
    """Bytes of another object, passed off as the one asked for: only the hash tells."""
    part = "project_metadata/ophys_session_table"
    seen = Counter[str]()

    def first(request: RequestInfo) -> bool:
        seen[request.kind] += 1
        return seen[request.kind] == 1

    with S3Server(
        one_mouse,
        faults=lambda r, _: Fault(replaced=True, lie=True) if part in r.key and first(r) else None,
    ) as server:
        prepared = prepare(IngestRequest(source_of(server), str(one_mouse.parent / "none")))
    assert prepared.project.tables["ophys_sessions"].num_rows > 0
