"""Where the commands find their settings: flags, environment variables, `vblake.toml`, defaults.

Each option has a variable. Options that several commands share are named alike everywhere
(`--workers`, VBLAKE_WORKERS, `workers = 4`); those of one command also by the command
(`vblake sql --rows`, VBLAKE_SQL_ROWS, `rows = 20` below `[sql]`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperOption

from schemas.errors import UsageError

VARIABLE = "VBLAKE_CONFIG"
FILE = "vblake.toml"
ENVIRONMENT = "environment"
"""Table of the file with further variables, such as AWS_PROFILE or DAGSTER_HOME."""

DEFAULT = "default"
"""The origin of a value that nobody has given."""

PLACES = ("PLACE", "FILE", "DIR")
"""Metavars of options that name a place; relative ones of the file start at its folder."""


def variable(option: str, command: str | None = None) -> str:
    """The environment variable of an option.

    >>> variable("workers"), variable("rows", "sql")
    ('VBLAKE_WORKERS', 'VBLAKE_SQL_ROWS')
    """
    return "_".join(filter(None, ("VBLAKE", command, option))).upper().replace("-", "_")


def name_of(option: TyperOption) -> str:
    """The name of an option in the file and in its variable: its flag with `_` for `-`."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def variables(option: TyperOption) -> list[str]:
    """The environment variables of an option; the first that is set counts."""
    return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())


def options_of(command: Any) -> list[TyperOption]:
    """The options of a command that can be set; not `--help`."""
    return [param for param in command.params if isinstance(param, TyperOption)]


def is_shared(option: TyperOption) -> bool:
    """Whether an option has one name for all commands."""
    return variable(name_of(option)) in variables(option)


def name_variables(command: str, options: list[TyperOption]) -> None:
    """Gives those options of a command a variable that were declared without one."""
    for option in options:
        if not option.envvar:
            option.envvar, option.show_envvar = variable(name_of(option), command), False


@dataclass(frozen=True)
class File:
    """A file of settings.

    Attributes:
        path: where it is, absolute.
        values: its content.
    """

    path: Path
    values: Mapping[str, Any]


def read_file() -> File | None:
    """The file that VBLAKE_CONFIG names, else `vblake.toml` in the working folder, if any.

    Raises:
        UsageError: the file cannot be read.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named or FILE).absolute()
    if not named and not path.is_file():
        return None
    return _read(path)


@cache
def _read(path: Path) -> File:
    try:
        return File(path, _underscored(tomllib.loads(path.read_text(encoding="utf-8"))))
    except OSError as error:
        hint = f"Correct {VARIABLE}." if os.environ.get(VARIABLE) else "Check its permissions."
        raise UsageError(f"{path} cannot be read ({error.strerror}). {hint}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from None


def _underscored(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings; `connect-timeout` is `connect_timeout`."""
    return {
        name.replace("-", "_"): _underscored(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }


def set_environment(file: File | None) -> None:
    """Sets the variables that the file gives and the environment does not."""
    for name, value in (file.values.get(ENVIRONMENT, {}) if file else {}).items():
        os.environ.setdefault(name, str(value))


def defaults(file: File | None, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a file sets, by command and by the names of its parameters.

    Returns:
        What the context of the command line takes as `default_map`.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in commands}
    if file is None:
        return found
    for command in commands:
        own = file.values.get(command, {})
        for option in options_of(commands[command]):
            name = name_of(option)
            given = own if name in own or not is_shared(option) else file.values
            if name in given:
                found[command][option.name] = _from(file, option, given[name])
    return found


def check_names(file: File, commands: Mapping[str, Any]) -> None:
    """Refuses names in a file that no command knows.

    Raises:
        UsageError: there are some.
    """
    options = {name: options_of(command) for name, command in commands.items()}
    shared = {name_of(option) for each in options.values() for option in each if is_shared(option)}
    for key, value in file.values.items():
        if key == ENVIRONMENT:
            continue
        if not isinstance(value, dict):
            _check_name(file, key, shared, "the file")
            continue
        _check_name(file, key, commands, "vblake", "command ")
        for name in value:
            _check_name(file, name, {name_of(option) for option in options[key]}, f"vblake {key}")


def _check_name(
    file: File, name: str, known: Collection[str], where: str, kind: str = "setting "
) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "See `vblake config`."
        raise UsageError(f"{file.path}: {where} has no {kind}{name!r}. {hint}")


def _from(file: File, option: TyperOption, value: Any) -> Any:
    """A value of the file as a parameter takes it."""
    if option.multiple and not isinstance(value, list):
        return [value]
    if option.metavar in PLACES and isinstance(value, str) and "://" not in value:
        return str(file.path.parent / Path(value).expanduser())
    return value


def origin(context: Any, option: TyperOption) -> str:
    """Where the value of an option comes from, for people."""
    source = context.get_parameter_source(option.name)
    kind = source.name if source else ""
    if kind == "COMMANDLINE":
        return f"flag {max(option.opts, key=len)}"
    if kind == "ENVIRONMENT":
        return next(f"environment {name}" for name in variables(option) if os.environ.get(name))
    if kind == "DEFAULT_MAP":
        file = read_file()
        return f"file {file.path if file else ''}"
    return DEFAULT


_EXPECTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
}
"""What an option takes, by the name that Pydantic, by which Typer checks values, gives an error."""


def explained(error: typer.BadParameter) -> UsageError | None:
    """What to say of a value that an option cannot have; None if Typer's words will do."""
    problems = getattr(error.__cause__, "errors", None)
    if error.ctx is None or not isinstance(error.param, TyperOption) or problems is None:
        return None
    option, place, (first, *_) = error.param, origin(error.ctx, error.param), problems()
    words: str = first["msg"].partition("is not ")[2].rstrip(".") or first["msg"]
    expected = _EXPECTED.get(first["type"], words).format(**first.get("ctx", {}))
    value, flag = first["input"], max(option.opts, key=len)
    given = f"{name_of(option)} is {value!r} ({place})"
    if place.startswith("flag"):
        given = f"{flag} is {value!r}"
    several = option.multiple and "," in str(value)
    hint = f" Give {flag} once for each." if several else ""
    return UsageError(f"{given}; expected {expected}.{hint}")
