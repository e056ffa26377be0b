"""The check command."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.option_fields import with_options
from pipelines.cli.options import IngestOptions, JsonOption, OutputFormat, OutputOption
from pipelines.cli.terminal import one_line, print_json, print_table, say, size

if TYPE_CHECKING:
    from pipelines.file_report import FileReport

HELD_BACK = 3
"""Exit code if an ingest would hold back something."""

UNREADABLE = 1
"""Exit code if a file is no NWB file of the dataset, or cannot be fetched."""


@with_options(IngestOptions, "Source", "release", "tables")
def check(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_KEY...",
            help="Local NWB files; or keys, names or ids of files of the source.",
            show_default=False,
        ),
    ],
    options: IngestOptions,
    as_json: JsonOption = False,
    output_format: OutputOption = OutputFormat.TABLE,
) -> None:
    """Report what an ingest would make of NWB files, without writing anything.

    The report can be pasted into an issue: rules that are broken, numbers of
    rows, shapes and types, but no data. A file of the source is compared with
    the release's tables, too; a local file is checked by itself.

    The exit code is 0 if everything would be published, 3 if something would be
    held back, and 1 if a file cannot be read.

    [dim]Examples:[/dim]

      vblake check behavior_ophys_experiment_951980471.nwb
      vblake check 951980471 --format json
    """
    from pipelines.file_report import check_files

    reports: list[FileReport] = []
    for report in check_files(options.request(), files):
        reports.append(report)
        if not (as_json or output_format is OutputFormat.JSON):
            _print(report)
    if as_json or output_format is OutputFormat.JSON:
        print_json([_as_json(report) for report in reports])
    if not all(report.readable for report in reports):
        raise typer.Exit(UNREADABLE)
    if not all(report.good for report in reports):
        raise typer.Exit(HELD_BACK)


def _verdict(report: FileReport) -> str:
    if not report.readable:
        return "unreadable"
    return "good" if report.good else "held back"


def _as_json(report: FileReport) -> dict[str, Any]:
    from importlib.metadata import version

    from schemas import SCHEMA_VERSION

    named = {
        name: [part._asdict() for part in getattr(report, name)]
        for name in ("tables", "violations", "datasets")
    }
    return {
        "verdict": _verdict(report),
        "program_version": version("vblake"),
        "schema_version": SCHEMA_VERSION,
        **asdict(report),
        **named,
    }


def _print(report: FileReport) -> None:
    from importlib.metadata import version

    from schemas import SCHEMA_VERSION
    from schemas.checks import RULES, Rule

    say(f"{one_line(report.file)}: {_verdict(report)}")
    where = "" if report.in_source else " (assumed), not compared with its tables"
    bytes_ = "" if report.bytes is None else f", {size(report.bytes)}"
    say(
        f"vblake {version('vblake')}, schema version {SCHEMA_VERSION}, "
        f"release {report.release}{where}{bytes_}"
    )
    if not report.readable:
        say(one_line(str(report.error)))
        return
    say("\nRules that are broken" if report.violations else "\nNo rule is broken.")
    for v in report.violations:
        allowed = ", can be allowed" if RULES[Rule(v.rule)].can_be_allowed else ""
        place = f"table {v.table}" + (f", column {v.column}" if v.column else "")
        say(f"* {v.rule}{allowed}: {place if v.table else 'the whole file'}")
        if v.expected is not None:
            say(one_line(f"    expected {v.expected}"))
        say(one_line(f"    found {v.found}"))
    for warning in report.warnings:
        say(one_line(f"* warning: {warning}"))
    for defect in report.known_defects:
        say(one_line(f"* known defect {defect.defect}: {defect.table_name}: {defect.detail}"))
    if report.tables:
        rows = [(t.table, t.status.value, f"{t.rows:,}") for t in report.tables]
        print_table(("table", "outcome", ">rows"), rows)
    if report.datasets:
        say("Datasets, with type and shape")
    placed = [(*d.path.rsplit("/", 1), d) for d in report.datasets]
    for folder, members in groupby(sorted(placed), lambda place: place[0]):
        listed = ", ".join(f"{name} {d.dtype} {_shape(d.shape)}" for _, name, d in members)
        say(one_line(f"* {folder}/: {listed}"))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
