"""The config command."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from pipelines.cli import settings
from pipelines.cli.option_fields import with_options
from pipelines.cli.options import IngestOptions, JsonOption
from pipelines.cli.terminal import print_json, print_table, say


@with_options(IngestOptions)
def config(
    context: typer.Context,
    options: IngestOptions,
    every: Annotated[
        bool, typer.Option("--all", help="List the options of single commands, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    r"""Show the settings that commands share, and where each comes from.

    A flag of a command comes before an environment variable, that before
    vblake.toml (in the working folder, or the file that VBLAKE_CONFIG names), and
    that before the default. Flags of ingest can be given to see what they change.

    --connect-timeout is connect_timeout in the file and VBLAKE_CONNECT_TIMEOUT.
    An option of one command only, like --rows of sql, is rows below \[sql] and
    VBLAKE_SQL_ROWS. Variables for others, like AWS_PROFILE, may stand below
    \[environment].

    On a terminal, long values wrap. Piped, each setting is one whole line.

    [dim]Examples:[/dim]

      vblake config --workers 4
      vblake config --all | grep sql
    """
    file = settings.read_file()
    rows = [row for row in _settings(context) if every or " " not in row["setting"] or row["given"]]
    if as_json:
        print_json({"file": None if file is None else str(file.path), "settings": rows})
        return
    say(f"file: {settings.FILE} is not in this folder" if file is None else f"file: {file.path}")
    print_table(("setting", "~value", "~from"), [(r["setting"], _text(r), r["from"]) for r in rows])


def _settings(context: typer.Context) -> list[dict[str, Any]]:
    """The shared settings, then those of each command, then further variables of the file."""
    parent = context.parent or context
    commands: dict[str, Any] = getattr(parent.command, "commands", {})
    own = {option.name for option in settings.options_of(context.command)}
    rows = [
        _row(settings.name_of(option), context, option)
        for option in settings.options_of(context.command)
        if settings.is_shared(option)
    ]
    seen = {row["setting"] for row in rows}
    for name, command in commands.items():
        other = command.context_class(command, parent=parent, info_name=name)
        other.resilient_parsing = True
        command.parse_args(other, [])
        for option in settings.options_of(command):
            shared = settings.is_shared(option)
            label = settings.name_of(option) if shared else f"{name} {settings.name_of(option)}"
            if label not in seen and (name != context.info_name or option.name not in own):
                seen.add(label)
                rows.append(_row(label, other, option))
    file = settings.read_file()
    for name, value in (file.values.get(settings.ENVIRONMENT, {}) if file else {}).items():
        used = os.environ.get(name) == str(value)
        origin = f"file {file.path}" if file and used else f"environment {name}"
        rows.append({"setting": name, "value": "(set, not shown)", "from": origin, "given": True})
    return rows


def _row(label: str, context: typer.Context, option: Any) -> dict[str, Any]:
    value = context.params.get(option.name)
    origin = settings.origin(context, option)
    if option.hide_input and value is not None:
        value = "(set, not shown)"
    unset = option.show_default if isinstance(option.show_default, str) else None
    return {
        "setting": label,
        "value": value,
        "unset": unset,
        "variable": settings.variables(option)[0],
        "from": origin,
        "given": origin != settings.DEFAULT,
    }


def _text(row: dict[str, Any]) -> str:
    value = row["value"]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if value is None:
        return f"({row['unset']})" if row.get("unset") else ""
    return str(value).lower() if isinstance(value, bool) else str(value)
