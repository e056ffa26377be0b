"""Runs the commands of `pipelines.cli` in this process and reads their output."""

from __future__ import annotations

import csv
import io

from click.testing import Result
from typer.testing import CliRunner

from pipelines.cli.app import app

TRIALS = "trials/mouse_id=101/trials.parquet"
"""A file of the hand-made lake of `builders.lake`."""


def run(*args: object, stdin: str | None = None) -> Result:
    """Runs a command; its exit code, stdout and stderr."""
    return CliRunner().invoke(app, [str(a) for a in args], input=stdin, prog_name="vblake")


def output(*args: object, stdin: str | None = None) -> str:
    """What a command prints that must succeed, without a word on stderr."""
    result = run(*args, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refusal(*args: object, code: int = 2) -> str:
    """The message of a command that must fail with this exit code, and print nothing else."""
    result = run(*args)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert "Traceback" not in result.stderr
    return result.stderr.removesuffix("\n")


def csv_of(*args: object) -> list[list[str]]:
    """The rows that `vblake sql` gives, names of columns first."""
    return list(csv.reader(io.StringIO(output("sql", "--format", "csv", *args))))


def cells(text: str, first: str) -> list[str]:
    """The words of the first line that begins with this word."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [first])
