"""Shared by all benchmarks: fresh processes run in turn, their medians and peak memory, tables,
JSON.

Imports only the standard library, and little of it. On Linux a new process inherits the peak memory
of the process that started it, so the measuring process must stay smaller than the measured one.
Benchmarks that import NumPy themselves see its memory as a floor of every peak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
"""The repository: the default working directory of processes, so that `-m benchmarks...` works."""


class BenchmarkError(Exception):
    """A measured process failed, so the run has no result."""


@dataclass(frozen=True)
class Sample:
    """One run of one command.

    Attributes:
        wall_s: seconds from start to end of the process, start-up included.
        cpu_s: user and system seconds of the process and of the processes it waited for.
        peak_mb: largest resident memory, in MB (1e6 bytes), of the process or of any one process it
            waited for; not their sum.
        facts: the JSON object on the last line that the process printed; empty if there was none.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Samples:
    """All runs of one command."""

    name: str
    command: tuple[str, ...]
    runs: tuple[Sample, ...]

    @property
    def wall_s(self) -> float:
        """Median wall time, s."""
        return statistics.median(r.wall_s for r in self.runs)

    @property
    def cpu_s(self) -> float:
        """Median processor time, s."""
        return statistics.median(r.cpu_s for r in self.runs)

    @property
    def peak_mb(self) -> float:
        """Largest peak memory of all runs, MB: a bound is broken if one run breaks it."""
        return max(r.peak_mb for r in self.runs)

    def fact(self, name: str) -> float:
        """Median of a number that the runs printed.

        Raises:
            KeyError: a run did not print it.
        """
        return statistics.median(float(r.facts[name]) for r in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Returns everything for the JSON file."""
        medians = {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_mb": self.peak_mb}
        return {
            "name": self.name,
            "command": list(self.command),
            "median": medians,
            "runs": [asdict(r) for r in self.runs],
        }


def run_once(
    command: Sequence[str],
    *,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 900.0,
) -> Sample:
    """Runs a command as a fresh process.

    Args:
        command: program and arguments.
        cwd: its working directory.
        environment: variables to set in addition to those of this process.
        timeout_s: seconds after which the process is killed.

    Raises:
        BenchmarkError: it failed or took too long; includes the end of its stderr.
    """
    # As on users' machines: without it, Python compiles vblake's sources anew in each process.
    environment = {**os.environ, **(environment or {})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    # In its own process group, so that a kill reaches its workers too.
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Drain(process.stdout), _Drain(process.stderr)
    late = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
    late.daemon = True
    late.start()
    try:
        # Not process.wait(): wait4 returns this child's own peak, RUSAGE_CHILDREN that of all.
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        late.cancel()
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    printed, complaints = out.text(), err.text()
    if process.returncode:
        killed = process.returncode == -signal.SIGKILL
        how = (
            f"was killed (after {timeout_s:g} s, or for memory)"
            if killed
            else f"ended with {process.returncode}"
        )
        raise BenchmarkError(f"{' '.join(command)} {how}:\n{complaints[-2000:] or printed[-2000:]}")
    # Linux counts in units of 1,024 bytes, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Sample(wall_s, usage.ru_utime + usage.ru_stime, peak / 1e6, _facts(printed))


class _Drain:
    """Reads a pipe to its end in a thread; otherwise a process that prints much would block."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._chunks: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while chunk := self._pipe.read1(1 << 16):
            self._chunks.append(chunk)

    def text(self) -> str:
        # A worker that outlives the process may hold the pipe open.
        self._thread.join(5.0)
        return b"".join(self._chunks).decode(errors="replace")


def _facts(printed: str) -> dict[str, Any]:
    lines = printed.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def run_repeated(
    commands: Mapping[str, Sequence[str]],
    repeats: int,
    *,
    warm_up: int = 1,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 900.0,
    before: Callable[[str], None] | None = None,
    after: Callable[[str, Sample], None] | None = None,
) -> dict[str, Samples]:
    """Runs commands in turn (A B A B...), each time as a fresh process.

    That way, other load on the machine affects all of them alike.

    Args:
        commands: by name.
        repeats: counted runs of each.
        warm_up: uncounted rounds before them, which fill the page cache and write byte code.
        cwd: working directory of the processes.
        environment: variables to set in addition to those of this process.
        timeout_s: seconds after which a process is killed.
        before: called with the name before each run, outside the measured time, e.g. to empty its
            output folder.
        after: called with the name and the sample after each run, warm-up included, e.g. to read a
            server's counters.

    Returns:
        The samples by name, in the order of `commands`.

    Raises:
        BenchmarkError: a process failed.
    """
    runs: dict[str, list[Sample]] = {name: [] for name in commands}
    for turn in range(warm_up + repeats):
        for name, command in commands.items():
            if before:
                before(name)
            sample = run_once(command, cwd=cwd, environment=environment, timeout_s=timeout_s)
            if after:
                after(name, sample)
            if turn >= warm_up:
                runs[name].append(sample)
                print(
                    f"  {name}: {sample.wall_s:.2f} s, {sample.peak_mb:.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
    return {
        name: Samples(name, tuple(commands[name]), tuple(found)) for name, found in runs.items()
    }


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a Markdown table with numbers aligned to the right.

    It is readable on a terminal and goes into docs/performance.md unchanged.
    """
    cells = [[_shown(c) for c in row] for row in rows]
    right = [
        all(isinstance(row[i], (int, float)) or row[i] is None for row in rows) and bool(rows)
        for i in range(len(headings))
    ]
    widths = [
        max(3, len(h), *(len(row[i]) for row in cells)) if cells else max(3, len(h))
        for i, h in enumerate(headings)
    ]

    def line(values: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(
                v.rjust(w) if r else v.ljust(w)
                for v, w, r in zip(values, widths, right, strict=True)
            )
            + " |"
        )

    rule = (
        "|"
        + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True))
        + "|"
    )
    return "\n".join([line(headings), rule, *(line(row) for row in cells)])


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        size = abs(value)
        return (
            f"{value:.0f}"
            if size >= 100
            else f"{value:.1f}"
            if size >= 10
            else f"{value:.2f}"
            if size >= 0.1
            else f"{value:.3g}"
        )
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def argument_parser(doc: str | None, work: str) -> argparse.ArgumentParser:
    """Returns a parser with the options of all benchmarks: --work, --repeats and --out.

    Args:
        doc: the module's docstring.
        work: help of --work.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help=work)
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="counted runs of each [%(default)s]"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write")
    return parser


def python(module: str, *arguments: object) -> list[str]:
    """Returns the command that runs a module in this interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def machine() -> dict[str, Any]:
    """Returns the machine, its load and the versions of a run."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(
            (
                line.split(":", 1)[1].strip()
                for line in cpuinfo.read_text().splitlines()
                if line.startswith("model name")
            ),
            model,
        )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": model,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": [round(x, 2) for x in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or None,
    }


def write_json(
    path: Path,
    benchmark: str,
    settings: Mapping[str, Any],
    samples: Mapping[str, Samples],
    **more: Any,
) -> None:
    """Writes everything that was measured.

    Args:
        path: the file; its folder is made.
        benchmark: name of the benchmark.
        settings: its options.
        samples: from `run_repeated`.
        more: further entries, e.g. rows of the printed table.
    """
    content = {
        "benchmark": benchmark,
        "settings": dict(settings),
        "machine": machine(),
        "samples": {name: s.to_json() for name, s in samples.items()},
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=str) + "\n")
