"""The plan command."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.extras import require_build
from pipelines.cli.options import IngestOptions, JsonOption, with_options
from pipelines.cli.terminal import one_line, print_json, print_table, say, size

if TYPE_CHECKING:
    from pipelines.ingest import Prepared


@with_options()
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
    require_build()
    from pipelines.ingest import prepare

    prepared = prepare(options.request())
    files = _files(prepared)
    warnings = [*prepared.project.warnings, *prepared.plan.warnings]
    if as_json:
        print_json(_plan_json(prepared, files, warnings, list_files=list_files))
        return
    say(
        f"release {prepared.release.version} from {prepared.request.source.url} "
        f"into {prepared.store.root}"
    )
    mice = sorted({file["mouse_id"] for file in files})
    print_table(
        (">mouse", ">files", ">to do", ">size", ">fetch at most", ">done", ">missing"),
        [_work_row(str(mouse), _work(files, mouse)) for mouse in mice],
        footer=_work_row("all", _work(files)),
    )
    if list_files:
        print_table(
            (">mouse", "kind", ">id", "state", ">size", "~file"), [_file_row(f) for f in files]
        )
    for warning in warnings:
        say(one_line(f"warning: {warning}"), err=True)


def _files(prepared: Prepared) -> list[dict[str, Any]]:
    """The files of a plan: their state, then what `--json` shows of a file in that state."""
    # Only the byte ranges that the tables need are fetched from a bucket. How many bytes those are
    # is only known once the file is open.
    remote = prepared.request.source.url.startswith("s3://")
    tasks = [("to do", task) for task in prepared.todo] + [("done", task) for task in prepared.done]
    files = [
        {
            "state": state,
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
            "fetch_at_most": (task.bytes or 0) if remote else 0,
            "tables": list(task.tables),
        }
        for state, task in tasks
    ]
    files.sort(key=lambda f: (f["mouse_id"], f["behavior_session_id"], f["file_key"]))
    return files + [{"state": "missing", **asdict(missing)} for missing in prepared.missing]


def _work(files: list[dict[str, Any]], mouse: int | None = None) -> dict[str, int]:
    """Counts the files of a mouse, or all, and adds up the bytes of those to do."""
    chosen = [file for file in files if mouse in (None, file["mouse_id"])]
    states = Counter(file["state"] for file in chosen)
    todo = [file for file in chosen if file["state"] == "to do"]
    return {
        "files": len(chosen),
        "todo": states["to do"],
        "bytes": sum(file["bytes"] or 0 for file in todo),
        "fetch_at_most": sum(file["fetch_at_most"] for file in todo),
        "done": states["done"],
        "missing": states["missing"],
    }


def _work_row(name: str, work: dict[str, int]) -> list[str]:
    sizes = ("bytes", "fetch_at_most")
    return [name, *(size(n) if key in sizes else f"{n:,}" for key, n in work.items())]


def _file_row(file: dict[str, Any]) -> tuple[str, ...]:
    bytes_, text = "", file.get("reason")
    if text is None:
        bytes_ = "?" if file["bytes"] is None else size(file["bytes"])
        text = file["object_key"]
    return str(file["mouse_id"]), file["kind"], str(file["file_key"]), file["state"], bytes_, text


def _plan_json(
    prepared: Prepared, files: list[dict[str, Any]], warnings: list[str], *, list_files: bool
) -> dict[str, Any]:
    mice = sorted({file["mouse_id"] for file in files})
    found: dict[str, Any] = {
        "release": prepared.release.version,
        "source": prepared.request.source.url,
        "lake": prepared.store.root,
        **_work(files),
        "mice": [{"mouse_id": mouse, **_work(files, mouse)} for mouse in mice],
        "warnings": warnings,
    }
    if list_files:
        for state, name in (("to do", "to_do"), ("done", "done"), ("missing", "missing")):
            found[f"{name}_files"] = [
                {key: value for key, value in file.items() if key != "state"}
                for file in files
                if file["state"] == state
            ]
    return found
