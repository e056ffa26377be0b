"""Ingests, rollbacks and removals in a process group of their own that are killed (SIGKILL) at a chosen moment: after some
time, or at the n-th line of publication.

As a program this module is the ingest that dies by itself: it counts the lines that are executed in
the modules that write to the lake.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_PIPELINES = ROOT / "pipelines"
WATCHED = {
    str(p): "publication" for p in (*_PIPELINES.glob("publish/*.py"), *_PIPELINES.glob("lake/*.py"))
}
PURE = ("_rewrite",)
"""Functions that touch no file; a footer alone takes thousands of their lines."""
WATCHED |= {str(_PIPELINES / f"catalog/{name}.py"): "catalog" for name in ("build", "relocate")}
WATCHED |= {str(_PIPELINES / "next_generation.py"): "publication"}
"""Modules that write to the lake, and the phase they stand for."""
TIMEOUT_S = 300


@dataclass(frozen=True)
class Command:
    """An ingest, a rollback or a removal.

    Attributes:
        action: `ingest`, `rollback` or `remove`.
        lake, source, endpoint_url: where to and where from.
        sessions: what to ingest or remove.
        force: convert again.
        phase, line: the process group is killed before the n-th line, from 1, that is executed in
            the modules of a phase; 0 for never. Without a phase lines are not counted.
        dagster: as `vblake ingest`, which counts no lines.
    """

    lake: str
    source: str
    endpoint_url: str | None
    sessions: tuple[int, ...]
    force: bool = False
    phase: str = ""
    line: int = 0
    dagster: bool = False
    workers: int = 2
    action: str = "ingest"

    def argv(self) -> list[str]:
        """The command line."""
        if not self.dagster:
            return [sys.executable, "-m", "builders.killing", json.dumps(asdict(self))]
        options = ["--lake", self.lake, "--source", self.source, "--workers", str(self.workers)]
        for session in self.sessions:
            options += ["--behavior-session", str(session)]
        if self.endpoint_url:
            options += ["--endpoint-url", self.endpoint_url]
        if self.force:
            options.append("--force")
        return [sys.executable, "-m", "assets", "ingest", *options]

    def start(self, home: Path) -> subprocess.Popen[str]:
        """Starts it in a session of its own. Dagster's records go to a folder of the test's."""
        home.mkdir(exist_ok=True)
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "DAGSTER_HOME": str(home),
        }
        return subprocess.Popen(
            self.argv(),
            cwd=home,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@dataclass
class End:
    """How an ingest ended.

    Attributes:
        code: -9 if it was killed.
        output: what it printed.
        where: the line before which it was killed, `publish.py:120`; empty if it was not killed at
            a line.
    """

    code: int
    output: str
    where: str = ""


def run(command: Command, home: Path, moment: Callable[[], bool] = lambda: False) -> End:
    """Runs an ingest to its end, or until the moment has come: then its process group is killed."""
    process = command.start(home)
    latest = time.monotonic() + TIMEOUT_S
    while process.poll() is None and not moment():
        assert time.monotonic() < latest, f"no end after {TIMEOUT_S} s"
        time.sleep(0.002)
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    # The pipe is at its end when every process of the group is gone, so that nothing writes any
    # more.
    output, _ = process.communicate()
    note = Path(command.lake).with_suffix(".killed")
    where = note.read_text() if note.exists() else ""
    note.unlink(missing_ok=True)
    return End(process.returncode, output, where)


# --- the program -------------------------------------------------------------------------------------------------------------


class _Lines:
    """Counts executed lines of `WATCHED` by phase, in all threads; kills the process group before
    one of them."""

    def __init__(self, phase: str, last: int, note: Path) -> None:
        self._last = (phase, last)
        self._note = note
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        return (
            self._line
            if frame.f_code.co_filename in WATCHED and frame.f_code.co_name not in PURE
            else None
        )

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            with self._lock:
                phase = WATCHED[frame.f_code.co_filename]
                self.counts[phase] += 1
                if (phase, self.counts[phase]) == self._last:
                    self._note.write_text(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
                    os.killpg(0, signal.SIGKILL)
        return self._line


def _planned(given: dict[str, Any]) -> Callable[[], object]:
    """What is to be done, after it has been planned."""
    from pipelines.ingest import ingest
    from pipelines.lake.store import LocalStore
    from pipelines.next_generation import roll_back
    from pipelines.prepare import prepare
    from pipelines.release.selection import Selection
    from pipelines.remove import plan_removal, remove
    from pipelines.request import IngestRequest
    from pipelines.source.base import SourceSpec

    store = LocalStore(Path(given["lake"]))
    selection = Selection(behavior_sessions=tuple(given["sessions"]))
    if given["action"] == "rollback":
        return functools.partial(roll_back, store)
    if given["action"] == "remove":
        return functools.partial(remove, store, plan_removal(store, selection))
    request = IngestRequest(
        SourceSpec(given["source"], given["endpoint_url"]),
        given["lake"],
        selection=selection,
        force=given["force"],
        workers=given["workers"],
    )
    return functools.partial(ingest, prepare(request))


def main() -> None:
    """Does one thing without Dagster; prints how many lines it counted, as JSON."""
    given = json.loads(sys.argv[1])
    work = _planned(given)
    lines = _Lines(given["phase"], given["line"], Path(given["lake"]).with_suffix(".killed"))
    if given["phase"]:
        threading.settrace(lines)
        sys.settrace(lines)
    work()
    sys.settrace(None)
    sys.stdout.write(json.dumps(lines.counts))


if __name__ == "__main__":
    main()
