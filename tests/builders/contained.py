"""Runs calls in other processes, with bounds on time and memory: they may crash or loop."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_POLL_S = 0.02
_BACKSTOP = 8 << 30
"""Bound on address space, well above the bound on memory, which is watched from outside: it must
not turn a large allocation into an error that no user would see."""


@dataclass(frozen=True)
class Outcome:
    """What became of a call.

    Attributes:
        value: what it returned.
        death: how the process ended if it did not return.
        peak: most memory the process held, bytes.
    """

    value: Any
    death: str | None
    peak: int


def _memory(pid: int | str) -> int:
    """Returns the peak memory of a process in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def _serve(
    send: Connection, seconds: float, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    # Both end the process whatever it is at, C code included.
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_BACKSTOP, _BACKSTOP))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    value = function(*args)
    send.send((value, _memory("self")))
    send.close()


def contained(function: Callable[..., Any], *args: Any, seconds: float, memory: int) -> Outcome:
    """Calls a function in a process forked from one that has the converter imported.

    Args:
        function: found by name in its module; what it returns can be pickled.
        args: its arguments.
        seconds: time it may take.
        memory: bytes it may hold.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.convert.file", "builders.fuzz"])
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(send, seconds, function, args))
    process.start()
    send.close()
    peak, death, answer = 0, None, None
    end = time.monotonic() + seconds
    try:
        while not receive.poll(_POLL_S):
            peak = max(peak, _memory(process.pid or 0))
            if peak > memory:
                death = f"held {peak >> 20} MB"
            elif time.monotonic() > end:
                death = f"took longer than {seconds} s"
            if death:
                process.kill()
                break
        else:
            answer = receive.recv()
    except EOFError:
        pass
    finally:
        process.join()
        receive.close()
    if answer is None:
        code = process.exitcode or 0
        return Outcome(
            None, death or (signal.Signals(-code).name if code < 0 else f"exit code {code}"), peak
        )
    return Outcome(answer[0], None, max(peak, answer[1]))
