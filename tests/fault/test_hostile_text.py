"""Text from files, buckets and lakes that steers the terminal or looks like markup: it is shown, and does nothing."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders.command import in_terminal, vblake
from builders.lake import RELEASE, build_lake, entry, write_rows

from pipelines.cli.app import main
from pipelines.cli.progress import Progress
from pipelines.convert.staged import FileResult
from pipelines.lake.ledger import Status, publish_mouse
from pipelines.release.manifest import ReleaseObject
from pipelines.release.selection import FileKind, FileTask

STEERING = "\x1b]0;title\x07\x1b[2J\x1b[31mred \x9b1A\x08\x7f\r\x00 \u202egnp.exe\u2066 \u200b\ue000\u2028".replace(
    "\x00", ""
)
MARKUP = "[red]a[/red] [link=https://example.org]b[/link] [/] :boom: \\[c]"
HOSTILE = f"{MARKUP} {STEERING}"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that has such text wherever a lake has text."""
    folder = tmp_path_factory.mktemp("hostile") / "lake"
    store = build_lake(folder)
    session = {
        "mouse_id": 101,
        "behavior_session_id": 1001,
        "ophys_session_id": 2002,
        "cre_line": HOSTILE,
        "driver_line": [HOSTILE],
    }
    write_rows(store, "behavior_sessions", [session])
    bad = entry(
        FileKind.OPHYS_EXPERIMENT,
        3003,
        102,
        1003,
        Status.QUARANTINED,
        gives_behavior=True,
        error=f"{HOSTILE}\nno line",
        object_key=f"k{HOSTILE}",
    )
    publish_mouse(store, 102, [bad], RELEASE)
    odd = folder / "trials" / f"mouse_id=7{STEERING}"
    odd.mkdir()
    (odd / "\x1b[31mx.parquet").write_bytes(b"PAR1")
    (folder / "licks/mouse_id=101/licks.parquet").rename(
        folder / "licks/mouse_id=101/\x1b[31mlicks.parquet"
    )
    return folder


def harmless(sent: bytes) -> str:
    """What a terminal was sent, which must be nothing but text."""
    text = sent.replace(b"\r\n", b"\n").decode()
    steering = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {
        "\n",
        "\t",
    }
    assert steering == set(), text
    return text


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["sql", "SELECT cre_line, driver_line FROM behavior_sessions"], 0),
        (["sql", "--format", "csv", "SELECT cre_line FROM behavior_sessions"], 0),
        (["sql", f'SELECT 1 AS "{HOSTILE}"'], 0),
        (["sql", f'FROM "{HOSTILE}"'], 2),
        (["status"], 0),
        (["verify"], 1),
    ],
)
def test_a_terminal_is_sent_nothing_but_text(lake: Path, args: list[str], code: int) -> None:
    returned, sent = in_terminal(*args, "--lake", lake, columns=400)
    shown = harmless(sent)
    assert returned == code, shown
    if "cre_line" in args[-1] and code == 0:
        assert "[red]a[/red] [link=https://example.org]b[/link] [/]" in shown
    if args == ["status"]:
        (line,) = [line for line in shown.splitlines() if line.startswith("quarantined: ")]
        assert line.endswith("·no line")


def test_programs_get_values_as_they_are(lake: Path, tmp_path: Path) -> None:
    query = "SELECT cre_line AS v FROM behavior_sessions"
    assert list(csv.reader(io.StringIO(_answer(lake, "csv", query), newline="")))[1] == [HOSTILE]
    assert json.loads(_answer(lake, "json", query)) == [{"v": HOSTILE}]
    found = json.loads(vblake("status", "--lake", lake, "--json").stdout)
    assert found["problems"][-1]["error"] == f"{HOSTILE}\nno line"
    out = tmp_path / "v.parquet"
    assert vblake("sql", "--lake", lake, "-o", out, query).returncode == 0
    assert pq.read_table(out).column("v").to_pylist() == [HOSTILE]


def _answer(lake: Path, form: str, query: str) -> str:
    return vblake("sql", "--lake", lake, "--format", form, query).stdout.decode()


def _result() -> FileResult:
    obj = ReleaseObject(f"a/{STEERING}.nwb", None, None)
    task = FileTask(
        "1.1.0", FileKind.BEHAVIOR_SESSION, 1, 101, 1, None, None, True, obj, ("trials",), 10
    )
    return FileResult(task, Path("/nowhere"), error=f"{HOSTILE}\nno line")


def test_progress_shows_names_and_errors_as_text() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.start(1, 10)
        progress.file_done(_result())
    shown = harmless(stream.getvalue().encode())
    assert "quarantined" in shown
    assert "\x1b" not in shown


def test_even_an_apology_is_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise ZeroDivisionError(HOSTILE)

    with pytest.raises(SystemExit):
        main(failing)  # type: ignore[arg-type]
    shown = harmless(capsys.readouterr().err.encode())
    assert shown.startswith("error: Sorry, this should not have happened (ZeroDivisionError).")
    assert MARKUP.split("\\")[0] in shown
