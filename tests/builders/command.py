"""Runs the `vblake` command in another process, as a shell, a terminal or a scheduler would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "assets")


def vblake(
    *args: str | bytes | Path, stdin: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end; options as of `subprocess.run`."""
    return subprocess.run(
        [*COMMAND, *args], input=stdin, capture_output=True, timeout=120, check=False, **options
    )


def in_terminal(
    *args: str | Path, term: str = "dumb", columns: int = 100, **options: Any
) -> tuple[int, bytes]:
    """Runs a command in a terminal; returns the exit code and what the terminal was sent."""
    own, its = os.openpty()
    environment = os.environ | {"TERM": term, "COLUMNS": str(columns)}
    with subprocess.Popen(
        [*COMMAND, *args], stdin=its, stdout=its, stderr=its, env=environment, **options
    ) as process:
        os.close(its)
        sent = b""
        while part := _read(own):
            sent += part
        process.wait(120)
    os.close(own)
    return process.returncode, sent


@dataclass
class Started:
    """A command that runs in a session of its own, so that all its processes can be found.

    Attributes:
        process: the command; stdout and stderr go to one pipe.
        said: its lines so far.
    """

    process: subprocess.Popen[str]
    said: list[str]

    def wait_for(self, part: str) -> None:
        """Reads until a line contains a text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if part in line:
                return
        raise AssertionError(f"no {part!r} in {self.said}")

    def end(self, seconds: float) -> int:
        """Waits for the end; returns the exit code. All its processes must have ended too."""
        try:
            rest, _ = self.process.communicate(
                timeout=seconds
            )  # the pipe ends with the last process that holds it
        except subprocess.TimeoutExpired:
            left = processes_of(self.process.pid)
            os.killpg(self.process.pid, signal.SIGKILL)
            rest, _ = self.process.communicate()
            raise AssertionError(
                f"no end after {seconds} s, {left} left: {self.said} {rest}"
            ) from None
        self.said += rest.splitlines()
        end = time.monotonic() + 10
        while (left := processes_of(self.process.pid)) and time.monotonic() < end:
            time.sleep(0.02)
        assert left == [], self.said
        return self.process.returncode


def start(*args: str | Path, program: Sequence[str] = COMMAND, **options: Any) -> Started:
    """Starts a command."""
    process = subprocess.Popen(
        [*program, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )
    return Started(process, [])


def until(condition: Callable[[], Any], seconds: float, every_s: float) -> Any:
    """Waits for what another process or thread does: the first true value of a condition."""
    latest = time.monotonic() + seconds
    while time.monotonic() < latest:
        if found := condition():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {seconds:g} s")


def processes_of(session: int) -> list[str]:
    """Ids and commands of the processes of a session that have not ended."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "sess=,stat=,pid=,args="], capture_output=True, text=True, check=True
    ).stdout
    found = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [
        rest for sess, state, rest in found if sess == str(session) and not state.startswith("Z")
    ]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: the other side is closed
        return b""
