"""Stopping a command: Ctrl-C, a scheduler's SIGTERM, the SIGHUP of a closed terminal.

The first signal raises `Stopped` in the main thread. If that has no effect for some seconds (the
main thread may be inside a library that does not return), or a second signal comes, the process
ends at once. That is safe at any time: a lake is whole at every moment, worker processes end with
the process that they work for, and the next ingest continues from what is there.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 5.0
"""Seconds in which a stopped command may finish the mouse it is publishing and Dagster's record."""
_SAME = 0.3
"""Seconds within which a second signal counts as the first one: `timeout` and schedulers signal
first the process and then its group."""


class Stopped(KeyboardInterrupt):
    """A signal has asked the process to stop."""


@dataclass
class _State:
    """What this process was asked. It is global because signals concern the whole process."""

    handled: tuple[signal.Signals, ...] = ()
    number: int | None = None
    raised: bool = False
    so_far: Callable[[], str] | None = None


_state = _State()


def received() -> int | None:
    """The signal that asked the process to stop, or None."""
    return _state.number


def exit_code() -> int:
    """128 plus the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_state.number or signal.SIGINT)


def tell(so_far: Callable[[], str] | None) -> None:
    """Sets the function that says what was done so far, for the last line of a stopped command."""
    _state.so_far = so_far


def farewell(so_far: str | None = None) -> str:
    """The last line of a stopped command."""
    number = _state.number or signal.SIGINT
    text = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    return f"{text}: {so_far}" if so_far else text


@contextmanager
def listening() -> Generator[None]:
    """Makes the signals raise `Stopped` in the block, which the main thread runs.

    Signals that are ignored already, as under nohup or in a script's background, stay ignored.
    """
    _state.handled = tuple(n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN)
    # A process that ends at once leaves semaphores, which Python's resource tracker removes. The
    # tracker's warning about them would be the last thing on the terminal.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    heard, told = os.pipe()
    os.set_blocking(told, False)
    # Python writes a signal's number here at once, even while the main thread is in a library.
    former = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(heard,), name="signals", daemon=True)
    watcher.start()
    reported, sys.unraisablehook = sys.unraisablehook, _in_finalizer
    try:
        with raising():
            yield
    finally:
        sys.unraisablehook = reported
        signal.set_wakeup_fd(former)
        os.close(told)
        watcher.join()
        os.close(heard)
        _state.handled, _state.number, _state.raised, _state.so_far = (), None, False, None


@contextmanager
def raising() -> Generator[None]:
    """Makes the signals raise `Stopped` in the block, whatever handlers a library has set.

    Dagster sets its own while it runs an asset; they would raise again at each further signal.
    """
    before = {number: signal.signal(number, _stop) for number in _state.handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if not _state.raised:
        _state.raised, _state.number = True, _state.number or number
        raise Stopped(signal.Signals(number).name)


def _in_finalizer(lost: sys.UnraisableHookArgs) -> None:
    """Reports an exception that a finalizer cannot raise, unless it is `Stopped`.

    Python would print its traceback and go on. `_watch` ends the process some seconds later.
    """
    if not isinstance(lost.exc_value, Stopped):
        sys.__unraisablehook__(lost)


def _watch(heard: int) -> None:
    """Ends the process if the first signal has no effect, or at a second one."""
    since: float | None = None
    while True:
        left = None if since is None else max(0.0, since + _PATIENCE - time.monotonic())
        ready, _, _ = select.select([heard], [], [], left)
        numbers = os.read(heard, 64) if ready else b""
        if ready and not numbers:
            return  # the pipe is closed: the command has ended
        asked = [number for number in numbers if number in _state.handled]
        now = time.monotonic()
        if since is None and asked:
            _state.number, since = _state.number or asked[0], now
        elif since is not None and (not ready or (asked and now > since + _SAME)):
            _end_at_once()


def _end_at_once() -> None:
    """Ends the process without waiting for any thread."""
    cursor = "\r\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides it
    line = farewell(_state.so_far() if _state.so_far else None)
    with suppress(OSError):
        os.write(2, f"{cursor}error: {line}\n".encode())
    os._exit(exit_code())
