"""How an ingest shows what it does: a bar on a terminal, a line per file elsewhere, and a summary at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from shlex import quote
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from pipelines.cli import interrupt
from pipelines.cli.terminal import counted, one_line, say, size

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from pipelines.convert.staged import FileResult
    from pipelines.ingest import MouseReport, Prepared

SOME_QUARANTINED = 3
"""Exit code of `ingest` where some files could not be ingested and the rest is done."""


class Progress:
    """Shows the files of an ingest as they are done. Use it in a `with` statement, so that an error leaves the terminal in order.

    On a terminal: a bar with files done and in all, bytes, rate, the mouse of the last file and the time left. Elsewhere, as in logs:
    a line per file and mouse.

    Args:
        stream: where to; stderr by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: Bar | None = None
        self._task: TaskID | None = None
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
        self.finish()

    def start(self, files: int, total_bytes: int) -> None:
        """Begins.

        Args:
            files: files to convert.
            total_bytes: their size in the bucket.
        """
        self._files, self._done, self._converted, self._in_lake = files, 0, 0, 0
        interrupt.tell(self.so_far)
        if not self._stream.isatty():
            self._say(f"{counted(files, 'file')} to convert, {size(total_bytes)}")
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.fields[files]}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn("{task.fields[mouse]}"),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
        )
        self._task = self._bar.add_task("", total=total_bytes, files=self._count(), mouse="")
        self._bar.start()

    def file_done(self, result: FileResult) -> None:
        """A file was converted, or could not be."""
        self._done += 1
        self._converted += result.error is None
        task = result.task
        name = task.object.key.rsplit("/", 1)[-1]
        if self._bar is None or self._task is None:
            outcome = (
                f"quarantined: {result.error}"
                if result.error
                else f"{size(task.bytes or 0)} in {result.seconds:.1f} s"
            )
            self._say(f"[{self._done}/{self._files}] mouse {task.mouse_id} {name} {outcome}")
            return
        if result.error:
            self._bar.console.print(
                one_line(f"quarantined: {name}: {result.error}"),
                style="red",
                markup=False,
                highlight=False,
            )
        self._bar.update(
            self._task, advance=task.bytes or 0, files=self._count(), mouse=f"mouse {task.mouse_id}"
        )

    def mouse_done(self, report: MouseReport) -> None:
        """All files of a mouse are in the lake."""
        self._in_lake += len(report.entries) - len(report.quarantined)
        if self._bar is None:
            rows = sum(report.row_counts.values())
            self._say(
                f"mouse {report.mouse_id} is in the lake: {counted(len(report.entries), 'file')}, {counted(rows, 'row')}"
            )

    def so_far(self) -> str:
        """What an ingest that is stopped now has done."""
        parts = [f"{self._in_lake:,} of {counted(self._files, 'file')} are in the lake"]
        if waiting := self._converted - self._in_lake:
            parts.append(f"{waiting:,} more converted")
        return f"{', '.join(parts)}; the same command goes on from there"

    def finish(self) -> None:
        """Ends; may be called more than once."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _count(self) -> str:
        return f"{self._done:,}/{self._files:,} files"

    def _say(self, text: str) -> None:
        self._stream.write(one_line(text) + "\n")
        self._stream.flush()


def print_summary(prepared: Prepared, reports: Iterable[MouseReport]) -> int:
    """Prints what an ingest did, a line for each file that is not in the lake, and where to go on.

    Returns:
        The exit code: 0, or 3 if files are quarantined or missing.
    """
    from pipelines.lake.ledger import Status
    from schemas.layout import CATALOG

    entries = [e for report in reports for e in report.entries]
    bad = [e for e in entries if e.status is not Status.INGESTED]
    quarantined = sum(e.status is Status.QUARANTINED for e in entries)
    parts = [f"{counted(len(entries) - len(bad), 'file')} ingested"]
    if quarantined:
        parts.append(f"{quarantined:,} quarantined")
    if missing := len(bad) - quarantined:
        parts.append(f"{missing:,} missing in the source")
    if prepared.done:
        parts.append(f"{len(prepared.done):,} already there")
    say(", ".join(parts))
    for e in bad:
        say(
            one_line(
                f"{e.status.value}: {e.object_key or f'{e.file_kind.value} {e.file_key}'}: {e.error}"
            )
        )
    root = prepared.store.root
    say(f"catalog: {root}/{CATALOG}")
    if bad:
        say(
            f"Next: vblake status --lake {quote(root)}; the files above are tried again by the next ingest."
        )
    else:
        say(f'Next: vblake sql --lake {quote(root)} "SELECT * FROM behavior_sessions"')
    return SOME_QUARANTINED if bad else 0
