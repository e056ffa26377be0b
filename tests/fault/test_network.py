"""A bad network, by seed: faults that pass leave no trace in the lake, those that last fail one file, and nothing waits for ever."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from builders.cli import run
from builders.command import vblake
from builders.lakes import behavior_file, contents, edit, file_key, query
from builders.network import ingest_from, manifest_of, quarantined, source_of, unversioned
from click.testing import Result
from servers.chaos import BODY, LISTING, OBJECT, RANGE, REFUSED, STALL_S, Chaos
from servers.objects import Fault, RequestInfo
from servers.s3 import BUCKET, S3Server

from pipelines import log
from pipelines.ingest import prepare
from pipelines.release.manifest import load_release
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.sample.bucket import write_sample
from pipelines.source import object_store as s3
from pipelines.source.base import SourceSpec
from pipelines.source.open import open_source
from pipelines.source.range_file import RangeFile
from schemas import TABLES, Subject
from schemas.errors import SourceError, TransientSourceError

SOME = ("trials", "stimulus_templates", "dff_traces")
BUT_SOME = tuple(
    name
    for name, table in TABLES.items()
    if name not in SOME and table.subject is not Subject.PROJECT
)

SOON = 30
"""Seconds after which something that was given up hangs."""


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
    """Waits between attempts are short. How long they are has a test of its own."""
    monkeypatch.setattr(s3.random, "uniform", lambda low, high: 0.01)


def trials_of(*sessions: int) -> Selection:
    return Selection(behavior_sessions=sessions, tables=("trials",))


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
    """One request in ten goes wrong; in turn ranges, whole objects with their hash, and a bucket without versions are read."""
    plain = unversioned(one_mouse, tmp_path / "plain")
    struck, asked, cases = Counter[str](), 0, 40 if soak else 3
    for case in range(cases):
        chaos = Chaos(seed * 1000 + case)
        kept = case % 3 != 2
        whole = case == 0 or soak
        selection, left_out = (
            (Selection(), ("source_files",)) if whole else (Selection(tables=SOME), BUT_SOME)
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


def test_the_command_repeats_and_says_so(
    one_mouse: Path, undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """With worker processes, real waits, and the time-outs of the command line."""
    chaos = Chaos(seed, 0.15)
    with S3Server(one_mouse, faults=chaos) as server:
        options = (
            "--tables",
            "trials,running_speed",
            "--workers",
            "2",
            "--timeout",
            str(STALL_S / 2),
            "--verbose",
        )
        done = vblake("ingest", "--lake", tmp_path / "lake", "--endpoint-url", server.url, *options)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    each = re.findall(
        rf"^\w+: visual-behavior-ophys/\S+\.nwb \(version \w+\) in s3://{BUCKET} at \S+: .+; attempt \d of 8 in",
        said,
        re.M,
    )
    assert 0 < len(each) <= chaos.struck.total()
    for table in ("trials", "running_speed"):
        rows = f"SELECT COLUMNS(*)::VARCHAR FROM {table} ORDER BY ALL"
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


@pytest.mark.parametrize("wrong", [0, 1], ids=["tables", "images"])
def test_a_size_that_was_wrong_once_costs_another_start(
    one_mouse: Path, undisturbed: Path, tmp_path: Path, wrong: int, no_waiting: None
) -> None:
    """The tables of a file and the images of its set are read in two goes; each asks for the object's size first."""
    asked = Counter[str]()

    def shorter(request: RequestInfo, _: int) -> Fault | None:
        if request.kind != "head" or not request.key.endswith(".nwb"):
            return None
        asked[request.key] += 1
        return Fault(missing=7, declared=False) if asked[request.key] == wrong + 1 else None

    with S3Server(one_mouse, faults=shorter) as server:
        ingest_from(source_of(server), tmp_path / "lake", selection=Selection(tables=SOME))
    assert max(asked.values()) > 2
    assert quarantined(tmp_path / "lake") == {}
    assert contents(tmp_path / "lake", without=BUT_SOME) == contents(undisturbed, without=BUT_SOME)


# --- a server of others


@pytest.mark.parametrize("versioning", [True, False], ids=["versions", "no versions"])
def test_a_bucket_on_another_server_gives_the_same_lake(
    one_mouse: Path, undisturbed: Path, tmp_path: Path, versioning: bool
) -> None:
    """moto's answers are not ours: ids and ETags of its own, newer objects over the pinned ones."""
    import boto3
    from moto.server import ThreadedMotoServer

    name = f"lab-{versioning}".lower()  # moto's buckets are those of all its servers
    copy = unversioned(one_mouse, tmp_path / "copy")
    manifest = json.loads(manifest_of(copy).read_text())
    entries = {
        e["url"].split(".com/")[1]: e
        for part in ("metadata_files", "data_files")
        for e in manifest[part].values()
    }
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-west-2",
        aws_access_key_id="w",
        aws_secret_access_key="w",
    )
    try:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        if versioning:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        for key, entry in entries.items():
            put = s3.put_object(
                Bucket=name, Key=key, Body=(one_mouse / key).read_bytes(), ACL="public-read"
            )
            if versioning:
                entry["version_id"] = put["VersionId"]
                s3.put_object(Bucket=name, Key=key, Body=b"of a later release", ACL="public-read")
        key = manifest_of(copy).relative_to(copy).as_posix()
        s3.put_object(Bucket=name, Key=key, Body=json.dumps(manifest).encode(), ACL="public-read")
        s3.put_bucket_acl(Bucket=name, ACL="public-read")
        ingest_from(
            SourceSpec(f"s3://{name}", f"http://{host}:{port}", attempts=1),
            tmp_path / "lake",
            selection=Selection(tables=SOME),
        )
    finally:
        s3.close()
        server.stop()
    assert quarantined(tmp_path / "lake") == {}
    assert contents(tmp_path / "lake", without=BUT_SOME) == contents(undisturbed, without=BUT_SOME)


# --- faults that last


LASTING = REFUSED | BODY | OBJECT | RANGE
SAID = {
    "500": "the server answered HTTP 500",
    "503 SlowDown": "the server answered HTTP 503 SlowDown (2 attempts). Try again later.",
    "403": "unsigned requests may not read it, or it does not exist (the server answered HTTP 403 AccessDenied). Buckets that",
    "404": "the bucket has no such version of it, which the manifest pins (the server answered HTTP 404 NoSuchKey). This copy",
    "reset before the answer": "broke off the connection (2 attempts). Check network and endpoint url, or try again later.",
    "stall": "sent nothing for 0.7 s, or too slowly (2 attempts). Try again later, or give a longer --timeout.",
    "reset in the body": "broke off the connection (2 attempts)",
    "short body": "broke off the connection (2 attempts)",
    "short body that says so": "the transfer broke off after",
    "another version": "the server sent replaced; it does not keep versions as S3 does. Read from the released bucket or from a local copy.",
    "another object under the same version": "the object was replaced while it was read (ETag",
    "whole object": "the server does not answer range requests. Read from the released bucket or from a local copy.",
    "wrong Content-Range": "the object was replaced while it was read",
    "Content-Range of a shorter object": "the object was replaced while it was read",
}


def test_lasting_faults_fail_their_file_only(
    one_mouse: Path, undisturbed: Path, tmp_path: Path, soak: bool, seed: int, no_waiting: None
) -> None:
    """Each kind befalls all later ranges of one file; the other files come in, and the next ingest completes the lake."""
    assert set(SAID) == set(LASTING)
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
                assert SAID[now[key]] in error
                assert "\n" not in error
                assert 0 < moved <= server.counters.bytes_sent[key]
            server.faults = None
            ingest_from(source_of(server), lake, selection=selection)
        rows = "SELECT COLUMNS(*)::VARCHAR FROM trials ORDER BY ALL"
        assert quarantined(lake) == {}
        assert query(lake, rows) == query(undisturbed, rows)


def test_the_command_ends_with_3_when_a_file_fails(one_mouse: Path, tmp_path: Path) -> None:
    key = behavior_file(one_mouse).relative_to(one_mouse).as_posix()
    with S3Server(
        one_mouse, faults=lambda r, _: Fault(status=503, code="SlowDown") if r.key == key else None
    ) as server:
        done = vblake(
            "ingest",
            "--lake",
            tmp_path / "lake",
            "--endpoint-url",
            server.url,
            "--tables",
            "trials",
            "--retries",
            "0",
            "--workers",
            "1",
        )
        (version,) = server.counters.versions[key]
    assert done.returncode == 3
    line = f"quarantined: {key}: {key} (version {version}) in s3://{BUCKET} at {server.url}: the server answered HTTP 503 (1 attempt)."
    assert f"{line} Try again later." in done.stdout.decode().splitlines()


def plan(server: S3Server, lake: Path, *more: str) -> Result:
    arguments = [
        "plan",
        "--lake",
        str(lake),
        "--endpoint-url",
        server.url,
        "--retries",
        "1",
        "--timeout",
        "0.5",
        *more,
    ]
    return run(*arguments)


@pytest.mark.parametrize("kind", [*REFUSED, *LISTING])
def test_a_listing_that_fails_is_one_line(
    one_mouse: Path, tmp_path: Path, kind: str, no_waiting: None
) -> None:
    fault = (REFUSED | LISTING)[kind]
    with S3Server(
        one_mouse,
        faults=lambda r, _: fault if r.kind == "list" and "manifests" not in r.key else None,
    ) as server:
        result = plan(server, tmp_path / "lake")
    assert result.exit_code == 1, result.output
    (line,) = [x for x in result.stderr.splitlines() if not x.startswith("warning: ")]
    assert line.startswith(
        f"error: the listing of 'visual-behavior-ophys/' in s3://{BUCKET} at {server.url}: "
    )


@pytest.mark.parametrize("kind", [*REFUSED, *BODY])
@pytest.mark.parametrize("part", ["manifests/", "project_metadata/ophys_session_table"])
def test_a_manifest_or_table_that_fails_is_one_line(
    one_mouse: Path, tmp_path: Path, part: str, kind: str, no_waiting: None
) -> None:
    fault = (REFUSED | BODY)[kind]
    with S3Server(
        one_mouse, faults=lambda r, _: fault if part in r.key and r.kind != "list" else None
    ) as server:
        result = plan(server, tmp_path / "lake")
    assert result.exit_code == 1, result.output
    (line,) = [x for x in result.stderr.splitlines() if not x.startswith("warning: ")]
    assert line.startswith(f"error: visual-behavior-ophys/{part}")


def test_a_table_damaged_on_its_way_is_read_again(one_mouse: Path, no_waiting: None) -> None:
    """Bytes of another object, passed off as the one asked for with all that goes with it: only the hash tells."""
    part = "project_metadata/ophys_session_table"
    with S3Server(
        one_mouse,
        faults=lambda r, n: Fault(replaced=True, lie=True) if part in r.key and n == 0 else None,
    ) as server:
        prepared = prepare(IngestRequest(source_of(server), str(one_mouse.parent / "none")))
    assert prepared.project.tables["ophys_sessions"].num_rows > 0


# --- retries and time-outs


def test_waits_grow_differ_and_end(
    one_mouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the user's AWS settings ask botocore for retries of its own: they would multiply with ours."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "10")
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    with S3Server(one_mouse, faults=lambda *_: Fault(status=503, code="SlowDown")) as server:
        monkeypatch.setattr(s3.asyncio, "sleep", sleep)
        log.show(log.DETAILS)
        with pytest.raises(TransientSourceError, match=r"HTTP 503 SlowDown \(8 attempts\)"):
            open_source(source_of(server, read_timeout_s=30.0)).sizes("")
        assert server.counters.requests == {"list": 8}
    longest = [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len({wait / most for wait, most in zip(waits, longest, strict=True)}) == 7
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in said] == ["info"] * 2 + ["warning"] * 5
    assert (
        said[0]
        == f"info: the listing of '' in s3://{BUCKET} at {server.url}: HTTP 503 SlowDown; attempt 2 of 8 in {waits[0]:.1f} s"
    )


def test_an_answer_that_drips_is_given_up(one_mouse: Path, no_waiting: None) -> None:
    """Each byte comes within the time-out, the whole would take minutes."""
    slowly = pytest.raises(
        TransientSourceError, match=r"sent nothing for 0.7 s, or too slowly \(1 attempt\)"
    )
    with S3Server(one_mouse, faults=lambda *_: Fault(drip_s=0.1)) as server, slowly:
        open_source(source_of(server, attempts=1)).sizes("")


@pytest.fixture
def stalled(one_mouse: Path) -> Iterator[tuple[S3Server, threading.Event]]:
    asked, go_on = threading.Event(), threading.Event()

    def wait(request: RequestInfo, _: int) -> None:
        if request.kind == "range":
            asked.set()
            go_on.wait(SOON)

    with S3Server(one_mouse, faults=wait) as server:
        yield server, asked
        go_on.set()


def test_a_file_that_is_closed_waits_for_nobody(
    one_mouse: Path, stalled: tuple[S3Server, threading.Event]
) -> None:
    """As when another range has failed, or at Ctrl-C: what is under way may have a minute's time-out and seven retries before it."""
    server, asked = stalled
    source = open_source(source_of(server, read_timeout_s=600.0))
    key = behavior_file(one_mouse).relative_to(one_mouse).as_posix()
    pinned = source.pin(key, None)
    with ThreadPoolExecutor(1) as pool:
        file = RangeFile(
            lambda start, stop: source.read_range(pinned, start, stop),
            pinned.size,
            abandon=source.close,
        )
        file.prefetch([(0, pinned.size)])
        assert asked.wait(SOON)
        pool.submit(file.close).result(SOON)
    with pytest.raises(SourceError, match=r"is closed"):
        source.pin(key, None)


def test_manifests_come_from_a_complete_listing(one_mouse: Path, no_waiting: None) -> None:
    """A page that lost its entries must not look like an older latest release, or like none."""
    newest = manifest_of(one_mouse).name
    lost = Fault(listing=lambda xml: re.sub(rb"<Contents>.*?</Contents>", b"", xml))
    with S3Server(
        one_mouse, faults=lambda r, n: lost if r.kind == "list" and n < 2 else None
    ) as server:
        assert load_release(open_source(source_of(server))).version in newest
