"""Looking at what is to do and what is there: `plan`, `status`, `verify`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import DEFAULT_LAKE, Asked, LakeOption, with_request
from pipelines.cli.terminal import counted, one_line, print_json, print_table, say, size

if TYPE_CHECKING:
    from pipelines.ingest import Prepared
    from pipelines.planning import FileTask
    from pipelines.status import Counts, LakeStatus

JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


# --- plan --------------------------------------------------------------------------------------------------------------------


@dataclass
class _Work:
    """Files of a mouse, or of all: `todo` of them with `bytes` in the bucket, of which at most `fetch_at_most` are moved."""

    files: int = 0
    todo: int = 0
    bytes: int = 0
    fetch_at_most: int = 0
    done: int = 0
    missing: int = 0


@with_request
def plan(
    asked: Asked,
    list_files: Annotated[bool, typer.Option("--list", help="List the files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what ingest would do, without doing it.

    Takes the options of ingest. --where is judged for each file, over the
    columns of behavior_sessions, ophys_sessions and ophys_experiments.

    [dim]Examples:[/dim]

      vblake plan --mouse 412366
      vblake plan --where "cre_line = 'Sst-IRES-Cre' AND session_number = 1"
      vblake plan --experiment 951980471 --tables trials,dff_traces --list
    """
    from pipelines.ingest import prepare

    prepared = prepare(asked.request())
    total, mice = _work(prepared)
    if as_json:
        print_json(_plan_json(prepared, total, mice, list_files=list_files))
        return
    say(f"release {prepared.release.version} from {prepared.request.source.url} into {prepared.store.root}")
    print_table(
        (">mouse", ">files", ">to do", ">size", ">fetch at most", ">done", ">missing"),
        [_work_row(str(mouse), work) for mouse, work in sorted(mice.items())],
        footer=_work_row("all", total),
    )
    if list_files:
        _list_files(prepared)
    for warning in _warnings(prepared):
        say(one_line(f"warning: {warning}"), err=True)


def _fetched(prepared: Prepared, task: FileTask) -> int:
    """Most bytes that reading a file moves. Of a remote file only the ranges that the tables need are fetched; how many bytes that is
    stands in the file itself, which a plan does not open.
    """
    return (task.bytes or 0) if prepared.request.source.url.startswith("s3://") else 0


def _work(prepared: Prepared) -> tuple[_Work, dict[int, _Work]]:
    total, mice = _Work(), dict[int, _Work]()
    for task in prepared.todo:
        for work in (total, mice.setdefault(task.mouse_id, _Work())):
            work.files += 1
            work.todo += 1
            work.bytes += task.bytes or 0
            work.fetch_at_most += _fetched(prepared, task)
    for task in prepared.done:
        for work in (total, mice.setdefault(task.mouse_id, _Work())):
            work.files += 1
            work.done += 1
    for missing in prepared.missing:
        for work in (total, mice.setdefault(missing.mouse_id, _Work())):
            work.files += 1
            work.missing += 1
    return total, mice


def _work_row(name: str, work: _Work) -> tuple[str, ...]:
    return (name, f"{work.files:,}", f"{work.todo:,}", size(work.bytes), size(work.fetch_at_most), f"{work.done:,}", f"{work.missing:,}")


def _warnings(prepared: Prepared) -> list[str]:
    return [*prepared.project.warnings, *prepared.plan.warnings]


def _list_files(prepared: Prepared) -> None:
    files = [("to do", t) for t in prepared.todo] + [("done", t) for t in prepared.done]
    rows = [
        (str(t.mouse_id), t.kind.value, str(t.file_key), state, "?" if t.bytes is None else size(t.bytes), t.object.key)
        for state, t in sorted(files, key=lambda f: (f[1].mouse_id, f[1].behavior_session_id, f[1].file_key))
    ]
    rows += [(str(m.mouse_id), m.kind.value, str(m.file_key), "missing", "", m.reason) for m in prepared.missing]
    print_table((">mouse", "kind", ">id", "state", ">size", "~file"), rows)


def _plan_json(prepared: Prepared, total: _Work, mice: dict[int, _Work], *, list_files: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "release": prepared.release.version,
        "source": prepared.request.source.url,
        "lake": prepared.store.root,
        **asdict(total),
        "mice": [{"mouse_id": mouse, **asdict(work)} for mouse, work in sorted(mice.items())],
        "warnings": _warnings(prepared),
    }
    if list_files:
        found["to_do_files"] = [_task_json(prepared, t) for t in prepared.todo]
        found["done_files"] = [_task_json(prepared, t) for t in prepared.done]
        found["missing_files"] = [asdict(m) for m in prepared.missing]
    return found


def _task_json(prepared: Prepared, task: FileTask) -> dict[str, Any]:
    return {
        "kind": task.kind.value,
        "file_key": task.file_key,
        "mouse_id": task.mouse_id,
        "behavior_session_id": task.behavior_session_id,
        "ophys_session_id": task.ophys_session_id,
        "ophys_experiment_id": task.ophys_experiment_id,
        "gives_behavior": task.gives_behavior,
        "object_key": task.object.key,
        "version_id": task.object.version_id,
        "bytes": task.bytes,
        "fetch_at_most": _fetched(prepared, task),
        "tables": list(task.tables),
    }


# --- status ------------------------------------------------------------------------------------------------------------------


def status(lake: LakeOption = DEFAULT_LAKE, as_json: JsonOption = False) -> None:
    """Show what the lake holds, by table and by mouse, and which files failed.

    Done, quarantined (the last attempt failed), skipped (in the release, but
    not in the bucket) and missing (not tried yet) are numbers of NWB files.

    [dim]Example:[/dim]  vblake status --lake lake
    """
    from pipelines.lake.store import open_store
    from pipelines.status import lake_status

    found = lake_status(open_store(lake))
    if as_json:
        print_json(_status_json(found))
        return
    say(f"release {found.release} in {found.root}")
    if not found.has_catalog:
        say(f"There is no catalog yet: vblake catalog --lake {quote(found.root)}")
    header = (">rows", ">size", ">files", ">done", ">quarantined", ">skipped", ">missing")
    print_table(("table", *header), [(name, *_counts_row(c)) for name, c in found.tables.items() if c != type(c)()])
    print_table(
        (">mouse", *header),
        [(str(mouse), *_counts_row(c)) for mouse, c in sorted(found.mice.items())],
        footer=("all", *_counts_row(found.sources)),
    )
    for p in found.problems:
        say(one_line(f"{p.status.value}: {p.object_key or f'{p.kind.value} {p.file_key}'} (mouse {p.mouse_id}): {p.error}"))


def _counts_row(counts: Counts) -> tuple[str, ...]:
    numbers = (counts.files, counts.done, counts.quarantined, counts.skipped, counts.missing)
    return (f"{counts.rows:,}", size(counts.bytes), *(f"{n:,}" for n in numbers))


def _status_json(found: LakeStatus) -> dict[str, Any]:
    return {
        "lake": found.root,
        "release": found.release,
        "has_catalog": found.has_catalog,
        "all": asdict(found.sources),
        "tables": [{"table": name, **asdict(c)} for name, c in found.tables.items()],
        "mice": [{"mouse_id": mouse, **asdict(c)} for mouse, c in sorted(found.mice.items())],
        "tables_by_mouse": [{"table": t, "mouse_id": m, **asdict(c)} for (t, m), c in sorted(found.cells.items())],
        "problems": [asdict(p) for p in found.problems],
    }


# --- verify ------------------------------------------------------------------------------------------------------------------


def verify(
    lake: LakeOption = DEFAULT_LAKE,
    quick: Annotated[bool, typer.Option("--quick", help="Read only footers and ids: no values, order or keys.")] = False,
) -> None:
    """Re-read the lake and check it against its contract.

    Every file opens, schemas are exact, keys unique, foreign keys closed, the
    tables' checks hold, row counts equal the ledger's, and the catalog works.
    Exit code 1 if anything is wrong. Warnings are of what an interrupted run
    left behind; they go away when it is run again. What the released data are
    known to break is listed as known exceptions, with the reason.

    [dim]Example:[/dim]  vblake verify --lake lake --quick
    """
    from pipelines.lake.store import open_store
    from pipelines.verify import Problem, Severity, verify

    store = open_store(lake)
    read: list[str] = []
    exceptions: list[Problem] = []
    problems = verify(store, deep=not quick, on_file=read.append, on_known=exceptions.append)
    for problem in (*exceptions, *problems):
        say(one_line(f"{problem.severity.value}: {problem}"))
    errors = sum(p.severity is Severity.ERROR for p in problems)
    say(_verdict(store.root, len(read), errors, len(problems) - errors, quick=quick))
    if errors:
        raise typer.Exit(1)


def _verdict(root: str, files: int, errors: int, warnings: int, *, quick: bool) -> str:
    found = [counted(n, noun) for n, noun in ((errors, "error"), (warnings, "warning")) if n]
    looked = "looked at" if quick else "read"
    return f"{root}: {counted(files, 'file')} {looked}, {' and '.join(found) or 'no problems'}"
