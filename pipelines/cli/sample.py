"""The sample command."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.extras import require_build
from pipelines.cli.terminal import counted, say, size
from pipelines.no_pandas import allow_pandas
from schemas.errors import LakeError, UsageError

_SYNTHETIC = (
    "SYNTHETIC DATA: every number is simulated, no file holds a recording. "
    "Never publish it as, or mix it with, the released data."
)


class Scale(StrEnum):
    """Size of the synthetic files."""

    TINY = "tiny"
    REAL = "real"


def sample(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the bucket; empty or new.")
    ],
    scale: Annotated[
        Scale, typer.Option("--scale", help="tiny: files under 2 MB. real: 200 to 670 MB a file.")
    ] = Scale.TINY,
    mice: Annotated[
        int,
        typer.Option(
            "--mice",
            min=1,
            max=99,
            metavar="N",
            help="Number of mice; four have every kind of file.",
        ),
    ] = 4,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="The same seed gives the same bytes.")
    ] = 0,
    release: Annotated[
        str,
        typer.Option(
            "--release", metavar="X.Y.Z", help="Before 1.1.0: the layout of the older releases."
        ),
    ] = "1.1.0",
) -> None:
    """Write a synthetic bucket in the released layout, to try vblake offline.

    All of it is simulated: no file holds a recording.

    [dim]Example:[/dim]  vblake sample --out bucket --mice 2 && vblake ingest --source bucket
    """
    require_build()
    allow_pandas()
    from pipelines.sample.bucket import write_sample

    workers = 1 if scale is Scale.REAL else os.cpu_count() or 1  # a real file takes 1 GB of memory
    size_of: dict[str, Any] = {"scale": scale.value, "mice": mice, "workers": workers}
    terminal = sys.stderr.isatty()

    def progress(key: str, done: int, total: int) -> None:
        line = f"[{done}/{total}] {key}"
        # On a terminal, each line replaces the one before.
        typer.echo(f"\r\x1b[K{line}" if terminal else line, nl=not terminal, err=True)

    try:
        made = write_sample(out, seed=seed, release=release, progress=progress, **size_of)
    except (ValueError, FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"The sample cannot be written: {error}.") from None
    except OSError as error:
        raise LakeError(f"The sample cannot be written to {out}: {error}.") from error
    finally:
        if terminal:
            typer.echo(err=True)
    files = counted(made.n_behavior_files + made.n_experiment_files, "file")
    animals = "1 mouse" if made.n_mice == 1 else f"{made.n_mice} mice"
    say(f"{made.root}: synthetic release {made.release}, {files} of {animals}, {size(made.bytes)}")
    typer.echo(_SYNTHETIC)
    say(f"Next: vblake ingest --source {made.root} --lake lake")
