"""The plan command."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import IngestOptions, JsonOption, with_options
from pipelines.cli.terminal import one_line, print_json, print_table, say, size

if TYPE_CHECKING:
    from pipelines.ingest import Prepared
    from pipelines.release.selection import FileTask


@dataclass
class _Work:
    """Files of a mouse, or of all mice.

    Attributes:
        bytes: size of the files to do in the bucket.
        fetch_at_most: how many of these bytes may have to be fetched.
    """

    files: int = 0
    todo: int = 0
    bytes: int = 0
    fetch_at_most: int = 0
    done: int = 0
    missing: int = 0


@with_options
def plan(
    options: IngestOptions,
    list_files: Annotated[bool, typer.Option("--list", help="List the files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what ingest would do, without doing it.

    It has the options of ingest. --where applies to each file, over the columns
    of behavior_sessions, ophys_sessions and ophys_experiments.

    [dim]Examples:[/dim]

      vblake plan --mouse 412366
      vblake plan --where "cre_line = 'Sst-IRES-Cre' AND session_number = 1"
      vblake plan --experiment 951980471 --tables trials,dff_traces --list
    """
    from pipelines.ingest import prepare

    prepared = prepare(options.request())
    total, mice = _work(prepared)
    if as_json:
        print_json(_plan_json(prepared, total, mice, list_files=list_files))
        return
    say(
        f"release {prepared.release.version} from {prepared.request.source.url} "
        f"into {prepared.store.root}"
    )
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
    """The most bytes that reading a file fetches.

    Of a remote file only the ranges that the tables need are fetched. Only the file itself says
    how many bytes these are, and a plan does not open files.
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
    return (
        name,
        f"{work.files:,}",
        f"{work.todo:,}",
        size(work.bytes),
        size(work.fetch_at_most),
        f"{work.done:,}",
        f"{work.missing:,}",
    )


def _warnings(prepared: Prepared) -> list[str]:
    return [*prepared.project.warnings, *prepared.plan.warnings]


def _list_files(prepared: Prepared) -> None:
    files = [("to do", t) for t in prepared.todo] + [("done", t) for t in prepared.done]
    rows = [
        (
            str(t.mouse_id),
            t.kind.value,
            str(t.file_key),
            state,
            "?" if t.bytes is None else size(t.bytes),
            t.object.key,
        )
        for state, t in sorted(
            files, key=lambda f: (f[1].mouse_id, f[1].behavior_session_id, f[1].file_key)
        )
    ]
    rows += [
        (str(m.mouse_id), m.kind.value, str(m.file_key), "missing", "", m.reason)
        for m in prepared.missing
    ]
    print_table((">mouse", "kind", ">id", "state", ">size", "~file"), rows)


def _plan_json(
    prepared: Prepared, total: _Work, mice: dict[int, _Work], *, list_files: bool
) -> dict[str, Any]:
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
