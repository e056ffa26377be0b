"""The progress display of an ingest and the summary after it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.lake import behavior_task, entry

from pipelines.cli.progress import Progress, print_summary
from pipelines.convert.staged import FileResult
from pipelines.ingest import MouseReport
from pipelines.lake.ledger import Entry, Status
from pipelines.lake.store import LocalStore
from pipelines.prepare import Prepared
from pipelines.release.manifest import Release
from pipelines.release.project_tables import ProjectTables
from pipelines.release.selection import FileKind, Plan
from pipelines.request import IngestRequest
from pipelines.source.base import SourceSpec


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def result(session: int, *, error: str | None = None) -> FileResult:
    return FileResult(behavior_task(session), Path("/nowhere"), error=error, seconds=2.04)


FIELDS: dict[Status, dict[str, Any]] = {
    Status.INGESTED: {"row_counts": {"trials": 2_000}},
    Status.QUARANTINED: {"error": "it is broken"},
    Status.SKIPPED: {"error": "it is broken", "object_key": None},
}


def report(*statuses: Status) -> MouseReport:
    entries: list[Entry] = []
    for number, status in enumerate(statuses):
        fields = FIELDS[status]
        session = 1001 + number
        entries.append(entry(FileKind.BEHAVIOR_SESSION, session, 101, session, status, **fields))
    return MouseReport(101, tuple(entries))


def test_a_log_gets_a_line_per_file_and_mouse() -> None:
    log = io.StringIO()
    with Progress(log) as progress:
        progress.start(2, 3_000_000)
        progress.file_done(result(1001))
        progress.file_done(
            result(1002, error="file behavior_session_1002.nwb: table trials: it is broken")
        )
        progress.mouse_done(report(Status.INGESTED, Status.QUARANTINED))
        progress.mouse_done(report(Status.INGESTED))
        progress.mouse_done(report(Status.QUARANTINED))
    assert log.getvalue() == (
        "2 files to convert, 3.0 MB\n"
        "[1/2] mouse 101 behavior_session_1001.nwb 1.5 MB in 2.0 s\n"
        "[2/2] mouse 101 behavior_session_1002.nwb quarantined\n"
        "mouse 101 is in the lake: 1 file, 2,000 rows; 1 file could not be ingested\n"
        "mouse 101 is in the lake: 1 file, 2,000 rows\n"
        "mouse 101: 1 file could not be ingested\n"
    )


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Progress(terminal) as progress:
        progress.start(2, 3_000_000)
        progress.file_done(result(1001))
        progress.file_done(result(1002, error="table [trials]: it is broken"))
        progress.mouse_done(report(Status.INGESTED))
    after = terminal.getvalue()
    for part in ("2/2 files", "3.0/3.0 MB"):
        assert part in after
    assert "it is broken" not in after, "the summary says it"
    assert after.endswith("\n\x1b[?25h"), "the cursor is shown again, on a line of its own"


def test_the_bar_moves_within_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with Progress(terminal, lambda: 500_000) as progress:
        progress.start(2, 3_000_000)
        progress.file_done(result(1001))
    assert "2.0/3.0 MB" in terminal.getvalue(), "one of 1.5 MB is done, another in part"


# --- summary --------------------------------------------------------------------------------------


def prepared(*, done: int = 0) -> Prepared:
    return Prepared(
        request=IngestRequest(SourceSpec("bucket"), "/data/lake"),
        store=LocalStore(Path("/data/lake")),
        marker=None,
        release=Release("1.1.0", {}, {}),
        project=ProjectTables({}, ()),
        plan=Plan([], [], []),
        ledger={},
        todo=(),
        done=tuple(result(2000 + n).task for n in range(done)),
    )


def test_the_summary_of_a_good_run(capsys: pytest.CaptureFixture[str]) -> None:
    reports = [report(Status.INGESTED), report(Status.INGESTED)]
    assert print_summary(prepared(done=1200), reports) == 0
    assert capsys.readouterr().out == (
        "2 files ingested, 1,200 already there\n"
        "catalog: /data/lake/catalog.duckdb\n"
        'Next: vblake sql --lake /data/lake "SELECT * FROM behavior_sessions"\n'
    )


def test_the_summary_does_not_count_planes_whose_rows_were_taken_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = entry(FileKind.OPHYS_EXPERIMENT, 3001, 101, 1001, Status.PARTIAL)
    print_summary(prepared(), [replace(report(Status.INGESTED), changed=(changed,))])
    assert capsys.readouterr().out.startswith("1 file ingested\n")


def test_the_summary_names_every_file_that_is_not_in_the_lake(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = [report(Status.INGESTED, Status.QUARANTINED, Status.SKIPPED)]
    assert print_summary(prepared(), reports) == 3
    assert capsys.readouterr().out == (
        "1 file ingested, 1 quarantined, 1 without a file in the release\n"
        "quarantined: visual-behavior-ophys/behavior_session_1002.nwb: it is broken\n"
        "skipped: behavior_session 1003: it is broken\n"
        "catalog: /data/lake/catalog.duckdb\n"
        "Next: vblake status --lake /data/lake; the next ingest tries the files above again.\n"
    )
