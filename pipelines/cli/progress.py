"""What an ingest shows: a bar on a terminal, elsewhere a line per file, then a summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from pipelines import log
from pipelines.cli import interrupt
from pipelines.cli.terminal import counted, one_line, say, size, with_name

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipelines.convert.staged import FileResult
    from pipelines.ingest import MouseReport
    from pipelines.lake.ledger import Entry, TableOutcome
    from pipelines.prepare import Prepared
    from pipelines.upgrade import Upgrade

SOME_MISSING = 3
"""Exit code of `ingest` if some files or tables could not be ingested and the rest is done."""


class Progress:
    """Shows the files of an ingest as they are done. Use it in a `with` statement.

    On a terminal it is a bar with the number of files, bytes, rate, elapsed and remaining time,
    which moves within a file, too. Elsewhere, as in logs, it is a line per file and mouse.

    Args:
        stream: where to write; stderr by default.
        in_progress: how far the workers are in the files that they convert, bytes.
    """

    def __init__(
        self, stream: TextIO | None = None, in_progress: Callable[[], int] = lambda: 0
    ) -> None:
        from rich import progress
        from rich.console import Console

        self._stream = stream or sys.stderr

        shown = self

        class Bar(progress.Progress):
            """Asks how far the files are before it shows it, several times a second."""

            def get_renderables(self) -> Iterable[RenderableType]:
                if self.task_ids:
                    self.update(self.task_ids[0], completed=shown._bytes + in_progress())
                return super().get_renderables()

        # Elsewhere than on a terminal, the bar shows nothing.
        self._bytes = 0
        self._bar = Bar(
            progress.TextColumn("{task.fields[files]}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=Console(file=self._stream),
            disable=not self._stream.isatty() or log.takes_stderr(),
        )
        self._task = self._bar.add_task("", files="")
        self._files = 0
        self._done = 0
        self._converted = 0
        self._in_lake = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        interrupt.tell(None)
        if error is not None:
            error.add_note(self.so_far())  # the last line of a stopped command

    def start(self, files: int, total_bytes: int) -> None:
        """Shows how much there is to do.

        Args:
            files: files to convert.
            total_bytes: their size in the bucket.
        """
        self._files = files
        interrupt.tell(self.so_far)
        text = f"{counted(files, 'file')} to convert, {size(total_bytes)}"
        self._log(text, event="plan", files=files, bytes=total_bytes)
        self._bar.update(self._task, total=total_bytes, files=self._count())
        self._bar.start()

    def file_done(self, result: FileResult) -> None:
        """Shows a file that was converted, or could not be."""
        self._done += 1
        self._converted += result.error is None
        task = result.task
        self._log(
            f"[{self._done}/{self._files}] mouse {task.mouse_id} {outcome(result)}",
            **file_facts(result),
        )
        self._bytes += task.bytes or 0
        self._bar.update(self._task, completed=self._bytes, files=self._count())

    def mouse_done(self, report: MouseReport) -> None:
        """Shows a mouse whose files are published."""
        self._in_lake += len(report.entries) - len(report.quarantined)
        self._log(mouse_outcome(report), **mouse_facts(report))

    def so_far(self) -> str:
        """What an ingest that is stopped now has done."""
        parts = [f"{self._in_lake:,} of {counted(self._files, 'file')} are in the lake"]
        if waiting := self._converted - self._in_lake:
            parts.append(f"{waiting:,} more converted")
        return f"{', '.join(parts)}; the same command goes on from there"

    def _count(self) -> str:
        return f"{self._done:,}/{self._files:,} files"

    def _log(self, text: str, **facts: object) -> None:
        """Writes a line, unless there is a bar; and to the log with times, if there is one."""
        log.record(text, **facts)
        if self._bar.disable and not log.takes_stderr():
            self._stream.write(one_line(text) + "\n")
            self._stream.flush()


def outcome(result: FileResult, *, reason: bool = False) -> str:
    """What became of a file, in one line.

    Args:
        result: the file.
        reason: whether to say why it failed, which the summary of an ingest does.
    """
    name = result.task.object.key.rsplit("/", 1)[-1]
    if result.error:
        return f"{name} quarantined" + (f": {result.error}" if reason else "")
    done = f"{name} {size(result.task.bytes or 0)} in {result.seconds:.1f} s"
    if result.held_back:
        done += f", held back: {', '.join(t.table for t in result.held_back)}"
    return done


def file_facts(result: FileResult) -> dict[str, object]:
    """What the log with times says of a file."""
    return {
        "event": "file",
        "mouse_id": result.task.mouse_id,
        "file": result.task.object.key,
        "status": "quarantined" if result.error else "converted",
        "error": result.error,
        "bytes": result.task.bytes,
        "bytes_fetched": result.bytes_fetched,
        "seconds": round(result.seconds, 3),
        "rows": sum(result.row_counts.values()),
        "held_back": {t.table: str(t) for t in result.held_back},
    }


def mouse_outcome(report: MouseReport) -> str:
    """What became of a mouse, in one line."""
    bad, rows = len(report.quarantined), sum(report.row_counts.values())
    good = len(report.entries) - bad
    parts = [f"is in the lake: {counted(good, 'file')}, {counted(rows, 'row')}"] if good else []
    if bad:
        parts.append(f"{counted(bad, 'file')} could not be ingested")
    return f"mouse {report.mouse_id}{'' if good else ':'} {'; '.join(parts)}"


def mouse_facts(report: MouseReport) -> dict[str, object]:
    """What the log with times says of a mouse."""
    bad = len(report.quarantined)
    return {
        "event": "mouse",
        "mouse_id": report.mouse_id,
        "files": len(report.entries) - bad,
        "failed": bad,
        "rows": sum(report.row_counts.values()),
    }


def print_nothing_to_do(prepared: Prepared) -> int:
    """Prints why an ingest had no file to convert.

    Returns:
        The exit code: 0, or 3 if tables of the selection are held back.
    """
    parts = [f"{counted(len(prepared.done), 'selected file')} already in the lake"]
    if missing := len(prepared.missing):
        parts.append(f"{missing:,} without a file in the release")
    say(f"Nothing to {'read' if prepared.upgrade else 'do'}: {', '.join(parts)}")
    held_back = prepared.held_back()
    _print_held_back(held_back)
    print_upgraded(prepared, ())
    return SOME_MISSING if held_back else 0


def print_upgrade(upgrade: Upgrade) -> None:
    """Prints that an ingest will upgrade the lake, why, and how not to."""
    before = upgrade.before
    counts = ", ".join(f"{n:,} {name}" for name, n in upgrade.counts.items())
    say(f"upgrade: {upgrade.reason}; files: {counts}")
    if before.release != upgrade.release and before.follows_latest:
        say(f"the lake follows latest; --release {before.release} would pin it to what it holds")


def print_upgraded(prepared: Prepared, reports: Iterable[MouseReport]) -> int:
    """Prints whether the lake was upgraded.

    Returns:
        The exit code: 0, or 3 if the upgrade waits for files.
    """
    from pipelines.ingest import upgrade_waits_for

    if prepared.upgrade is None:
        return 0
    root, before = prepared.store.root, prepared.upgrade.before
    if waiting := upgrade_waits_for(prepared, reports):
        say(
            f"{root} still holds release {before.release}: {counted(len(waiting), 'file')} of it "
            "could not be fetched in the new version. The same command goes on from here."
        )
        return SOME_MISSING
    say(
        f"{root} holds release {prepared.upgrade.release} now; "
        f"vblake rollback --lake {quote(root)} goes back to what it was"
    )
    return 0


def _print_held_back(tables: Iterable[tuple[Entry, TableOutcome]]) -> None:
    """Prints each table that is held back, with the reason."""
    for entry, table in tables:
        say(one_line(f"held back: {entry.object_key}: {table}"))


def print_summary(prepared: Prepared, reports: Sequence[MouseReport]) -> int:
    """Prints what an ingest did, each file that is not in the lake, and what to do next.

    Returns:
        The exit code: 0, or 3 if files are quarantined or missing, or tables held back.
    """
    from pipelines.lake.ledger import Status
    from schemas.layout import CATALOG

    entries = [e for report in reports for e in report.entries]
    bad = [e for report in reports for e in report.quarantined]
    held_back = prepared.held_back([*entries, *(e for r in reports for e in r.changed)])
    quarantined = sum(e.status is Status.QUARANTINED for e in entries)
    parts = [f"{counted(len(entries) - len(bad), 'file')} ingested"]
    if quarantined:
        parts.append(f"{quarantined:,} quarantined")
    if missing := len(bad) - quarantined:
        parts.append(f"{missing:,} without a file in the release")
    if prepared.done:
        parts.append(f"{len(prepared.done):,} already there")
    if held_back:
        parts.append(f"{counted(len(held_back), 'table')} held back")
    say(", ".join(parts))
    for e in bad:
        name = e.object_key or f"{e.file_kind.value} {e.file_key}"
        say(one_line(f"{e.status.value}: {with_name(name, str(e.error))}"))
    _print_held_back(held_back)
    waits = print_upgraded(prepared, reports)
    root = prepared.store.root
    say(f"catalog: {root}/{CATALOG}")
    if bad:
        say(
            f"Next: vblake status --lake {quote(root)}; "
            "the next ingest tries the files above again."
        )
    else:
        query = "FROM _held_back" if held_back else "SELECT * FROM behavior_sessions"
        say(f'Next: vblake sql --lake {quote(root)} "{query}"')
    return SOME_MISSING if bad or held_back or waits else 0
