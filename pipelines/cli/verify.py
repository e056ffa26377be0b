"""The verify command."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.log_options import logged
from pipelines.cli.option_fields import with_options
from pipelines.cli.options import DEFAULT_LAKE, IngestOptions, LakeOption
from pipelines.cli.terminal import counted, one_line, say


@logged
@with_options(IngestOptions, "workers")
def verify(
    options: IngestOptions,
    lake: LakeOption = DEFAULT_LAKE,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read only footers and ids: no values, order or keys.")
    ] = False,
) -> None:
    """Re-read the lake and check it against its contract.

    Every file opens, schemas are exact, keys unique, foreign keys closed, the
    tables' checks hold, row counts equal the ledger's, and the catalog works.
    The exit code is 1 if anything is wrong, and 0 if there are only warnings
    (`vblake rules` says which rules give them). Rules that the released data are
    known to break are listed as known exceptions, with the reason. Worker
    processes read a large lake in a folder.

    [dim]Example:[/dim]  vblake verify --lake lake --quick
    """
    from pipelines.check.finding import Finding
    from pipelines.check.lake import verify
    from pipelines.convert.pool import workers_for
    from pipelines.lake.generations import settle
    from pipelines.lake.store import open_store
    from schemas.checks import Level

    store = open_store(lake)
    settle(store)
    read: list[str] = []
    exceptions: list[Finding] = []
    problems = verify(
        store,
        deep=not quick,
        workers=workers_for(options.workers, None),
        on_file=read.append,
        on_known=exceptions.append,
    )
    for problem in (*exceptions, *problems):
        say(one_line(f"{problem.level.value}: {problem}"))
    errors = sum(p.level is Level.ERROR for p in problems)
    say(_verdict(store.root, len(read), errors, len(problems) - errors, quick=quick))
    if errors:
        raise typer.Exit(1)


def _verdict(root: str, files: int, errors: int, warnings: int, *, quick: bool) -> str:
    found = [counted(n, noun) for n, noun in ((errors, "error"), (warnings, "warning")) if n]
    looked = "looked at" if quick else "read"
    return f"{root}: {counted(files, 'file')} {looked}, {' and '.join(found) or 'no problems'}"
