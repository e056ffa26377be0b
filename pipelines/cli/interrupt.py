"""Being asked to stop: Ctrl-C, a scheduler's SIGTERM, the SIGHUP of a terminal that was closed.

The first signal raises `Stopped` in the main thread, wherever that is. A second one, or some seconds in which the first has had no effect
(the main thread may be inside a library that does not come back), ends the process at once. That is always safe: a lake is whole at every
moment, worker processes end with the one they work for, and the next run goes on from what is there.
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
"""Seconds that a mouse which is being published, and Dagster's record of the run, may take to come to an end."""
_ONE_AND_THE_SAME = 0.3
"""Seconds within which a second signal is taken for the first: `timeout` and schedulers signal the process and its group."""


class Stopped(KeyboardInterrupt):
    """A signal has asked the process to stop."""


@dataclass
class _State:
    """What has been asked for in this process; signals are the process's as well."""

    number: int | None = None
    raised: bool = False
    so_far: Callable[[], str] | None = None


_state = _State()


def received() -> int | None:
    """The signal that asked to stop, None if there was none."""
    return _state.number


def exit_code() -> int:
    """128 and the number of the signal, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (_state.number or signal.SIGINT)


def tell(so_far: Callable[[], str]) -> None:
    """Sets what is said of the work that is done when it is stopped."""
    _state.so_far = so_far


def farewell() -> str:
    """The line that a stopped command ends with."""
    number = _state.number or signal.SIGINT
    text = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    return f"{text}: {_state.so_far()}" if _state.so_far else text


@contextmanager
def listening() -> Generator[None]:
    """Has the signals raise `Stopped` in the `with` block, which is run by the main thread."""
    # Whoever started this process may want them to be ignored: nohup, background jobs of a script.
    wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.getsignal(number) for number in wanted}
    # A process that is ended at once leaves its semaphores to be removed for it. That this was done is nothing to warn the user of.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    heard, told = os.pipe()
    os.set_blocking(told, False)
    _state.number, _state.raised, _state.so_far = None, False, None
    for number in wanted:
        signal.signal(number, _stop)
    # Python writes a signal's number here before it gets round to the handler, whatever the main thread is at.
    former = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    watcher = threading.Thread(
        target=_watch, args=(heard, frozenset(map(int, wanted))), name="signals", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        os.close(told)
        watcher.join()
        os.close(heard)
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    if not _state.raised:
        _state.raised, _state.number = True, _state.number or number
        raise Stopped(signal.Signals(number).name)


def _watch(heard: int, wanted: frozenset[int]) -> None:
    since: float | None = None
    while True:
        left = None if since is None else max(0.0, since + _PATIENCE - time.monotonic())
        ready, _, _ = select.select([heard], [], [], left)
        numbers = os.read(heard, 64) if ready else b""
        if ready and not numbers:
            return  # closed: the command has ended
        asked = [number for number in numbers if number in wanted]
        now = time.monotonic()
        if since is None and asked:
            _state.number, since = _state.number or asked[0], now
        elif since is not None and (not ready or (asked and now > since + _ONE_AND_THE_SAME)):
            _leave()


def _leave() -> None:
    """Ends the process without a word to the other threads."""
    cursor = "\r\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar has hidden it
    with suppress(OSError):
        os.write(2, f"{cursor}error: {farewell()}\n".encode())
    os._exit(exit_code())
