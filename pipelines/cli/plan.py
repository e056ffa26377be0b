"""The plan command."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.extras import require_build
from pipelines.cli.option_fields import with_options
from pipelines.cli.options import IngestOptions, JsonOption
from pipelines.cli.releases import print_row_changes
from pipelines.cli.terminal import (
    counted,
    duration,
    one_line,
    print_json,
    print_table,
    say,
    size,
    waiting,
)

if TYPE_CHECKING:
    from pipelines.prepare import Prepared
    from pipelines.upgrade import Upgrade


@with_options(IngestOptions)
def plan(
    options: IngestOptions,
    list_files: Annotated[bool, typer.Option("--list", help="List the files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what ingest would do, without doing it.

    If the lake follows latest and the source has a newer release, or if this
    version of vblake has other tables, that includes what the upgrade will do.

    It has the options of ingest. --where applies to each file, over the columns
    of behavior_sessions, ophys_sessions and ophys_experiments.

    [dim]Examples:[/dim]

      vblake plan --mouse 412366
      vblake plan --where "cre_line = 'Sst-IRES-Cre' AND session_number = 1"
      vblake plan --experiment 951980471 --tables trials,dff_traces --list
    """
    require_build()
    from pipelines.prepare import prepare

    with waiting(f"reading the release from {options.source}"):
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
    if prepared.upgrade is not None:
        _print_upgrade(prepared.upgrade)
    print_table(
        (">mouse", ">files", ">to do", ">size", ">fetch at most", ">done", ">missing"),
        [_work_row(str(mouse), _work(its)) for mouse, its in _by_mouse(files).items()],
        footer=_work_row("all", _work(files)),
    )
    if prepared.todo:
        _print_estimate(prepared)
    if list_files:
        print_table(
            (">mouse", "kind", ">id", "state", ">size", "~file"), [_file_row(f) for f in files]
        )
    for warning in warnings:
        say(one_line(f"warning: {warning}"), err=True)


def _print_estimate(prepared: Prepared) -> None:
    """Prints how much disk and time an ingest needs."""
    from pipelines.estimate import MEASURED, estimate

    needed = estimate(prepared)
    say(
        f"estimate: the lake grows by {size(needed.lake_bytes)}, staging takes up to "
        f"{size(needed.staging_bytes)} meanwhile"
        + ("" if needed.free_bytes is None else f"; {size(needed.free_bytes)} are free")
    )
    fetch = (
        f"; fetching {size(needed.fetch_bytes)} takes {duration(needed.fetch_s)} at "
        f"{size(needed.rate)}/s"
        if needed.fetch_bytes
        else ""
    )
    workers = counted(needed.workers, "worker")
    if needed.last_run is not None and needed.total_s is not None:
        last = needed.last_run
        say(
            f"estimate: all takes {duration(needed.total_s)} with {workers}, as fast as the run of "
            f"{last.date} ({size(last.rate)}/s with {last.workers})"
        )
    else:
        say(f"estimate: converting takes {duration(needed.convert_s)} with {workers}{fetch}")
    say(f"({'sizes ' if needed.last_run else ''}from {MEASURED}; a selection of tables needs less)")
    if needed.free_bytes is not None and needed.free_bytes < (
        needed.lake_bytes + needed.staging_bytes
    ):
        say("warning: the disk of the lake may be too small", err=True)


def _upgrade(upgrade: Upgrade) -> dict[str, Any]:
    """What an upgrade does, as `--json` shows it."""
    return {
        "reason": upgrade.reason,
        "from_release": upgrade.before.release,
        "from_schema_version": upgrade.before.schema_version,
        "files": {name.replace(" ", "_"): n for name, n in upgrade.counts.items()},
        "files_left_out": upgrade.left,
        "project_tables": {name: asdict(changes) for name, changes in upgrade.rows.items()},
    }


def _print_upgrade(upgrade: Upgrade) -> None:
    say(f"upgrade of what the lake holds: {upgrade.reason}")
    say(f"files: {', '.join(f'{n:,} {name}' for name, n in upgrade.counts.items())}")
    print_row_changes(upgrade.rows)
    if upgrade.left:
        others = counted(upgrade.left, "file")
        say(f"{others} of the release are not in the lake and stay out unless they are selected")
    say("vblake ingest does it; vblake rollback goes back to what the lake is now")


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


def _by_mouse(files: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    by_mouse: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for file in files:
        by_mouse[file["mouse_id"]].append(file)
    return dict(sorted(by_mouse.items()))


def _work(files: list[dict[str, Any]]) -> dict[str, int]:
    """Counts files, and adds up the bytes of those to do."""
    states = Counter(file["state"] for file in files)
    todo = [file for file in files if file["state"] == "to do"]
    return {
        "files": len(files),
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
    from pipelines.estimate import estimate

    found: dict[str, Any] = {
        "release": prepared.release.version,
        "source": prepared.request.source.url,
        "lake": prepared.store.root,
        "upgrade": None if prepared.upgrade is None else _upgrade(prepared.upgrade),
        **_work(files),
        "estimate": asdict(estimate(prepared)),
        "mice": [{"mouse_id": mouse, **_work(its)} for mouse, its in _by_mouse(files).items()],
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
