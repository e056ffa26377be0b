"""Measures memory and processor time of worker processes. Linux only.

`wait4` does not count them, since their parent does not wait for them.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

_PERIOD_S = 0.05
_SEARCH_S = 0.5
"""Seconds between two searches for new processes. To look at all processes of the machine takes
2 ms, on the cores that are measured."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """Watches this process's new descendants every 50 ms until `stop`.

    Those that live for less than half a second may be missed.
    """

    def __init__(self) -> None:
        self._peak_mb: dict[int, float] = {}
        self._cpu_s: dict[int, float] = {}
        self._others = _descendants()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """Stops watching.

        Returns:
            Largest resident memory of any one process, MB, and the processor seconds of all,
            without a process's last 50 ms.
        """
        self._done.set()
        self._thread.join()
        return max(self._peak_mb.values(), default=0.0), sum(self._cpu_s.values())

    def _run(self) -> None:
        family, searched = set[int](), 0.0
        while not self._done.wait(_PERIOD_S):
            if (now := time.monotonic()) > searched + _SEARCH_S:
                family, searched = _descendants() - self._others, now
            for pid in family:
                if (stat := _stat(pid)) is None:
                    continue
                self._cpu_s[pid] = stat[1] / _TICKS
                # Not ru_maxrss, which starts with the peak of the forking process. VmHWM starts
                # with the memory after exec.
                peak = _status(pid, "VmHWM:")
                self._peak_mb[pid] = max(self._peak_mb.get(pid, 0.0), peak)


def _descendants() -> set[int]:
    """Returns the pid of every living descendant."""
    parent_of: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))) is not None:
            parent_of[int(folder.name)] = stat[0]
    family = {os.getpid()}
    while more := {pid for pid, parent in parent_of.items() if parent in family} - family:
        family |= more
    return family - {os.getpid()}


def _stat(pid: int) -> tuple[int, int] | None:
    """Returns parent and processor ticks of a process; None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may contain spaces; state, parent, ... follow it.
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def _status(pid: int, name: str) -> float:
    """Returns a size from /proc/PID/status in MB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name)), 0.0)
