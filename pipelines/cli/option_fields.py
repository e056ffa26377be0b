"""Makes options of commands from the fields of a dataclass: `Annotated[type, typer.Option(...)]`.

`pipelines.cli.options` has the dataclasses.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from pipelines.cli import settings
from schemas.errors import UsageError

Declared = TypeVar("Declared")


def panel(title: str) -> Callable[..., Any]:
    """Returns what makes the options of a panel of the help text.

    Their flags are made from the names of their fields, unless given.
    """

    def option(metavar: str | None, text: str, *flags: str, **more: Any) -> Any:
        return typer.Option(
            *flags, metavar=metavar, help=text, rich_help_panel=title, show_envvar=False, **more
        )

    return option


def from_settings(declared: type[Declared], command: str, given: Mapping[str, Any]) -> Declared:
    """Options of a dataclass as the command line would make them without a flag.

    Args:
        declared: the dataclass.
        command: whose options these are.
        given: values that are set already.

    Raises:
        UsageError: a value cannot be one of its option.
    """
    found: dict[str, Any] = {}
    alone = typer.Typer(add_completion=False)
    alone.command(command)(with_options(declared)(lambda options: found.update(vars(options))))
    built: Any = typer.main.get_command(alone)
    file = settings.read_file()
    settings.set_environment(file)
    defaults = settings.defaults(file, {command: built})[command]
    try:
        with built.make_context(command, [], default_map=defaults) as context:
            built.invoke(context)
    except typer.BadParameter as error:
        raise settings.explained(error) or UsageError(error.message) from None
    for name, annotation in option_types(declared).items():
        least, value = option_info(annotation).min, given.get(name)
        if least is not None and value is not None and value < least:
            raise UsageError(f"{name} is {value}; expected {least} or more.")
    return declared(**{**found, **given})


@functools.cache
def option_types(declared: type[Any]) -> dict[str, Any]:
    """The annotation of each field of a dataclass; each option has its environment variable."""
    types = get_type_hints(declared, include_extras=True)
    for name, annotation in types.items():
        info = option_info(annotation)
        info.envvar = info.envvar or settings.variable(name)
    return types


def option_info(annotation: Any) -> OptionInfo:
    """What an annotation declares about its option: names, help, environment variable, bounds."""
    (info,) = (part for part in get_args(annotation) if isinstance(part, OptionInfo))
    return info


def with_options(
    of: type[Any], *chosen: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds declared options to a command's own, and passes them as its `options`.

    Args:
        of: the dataclass that declares them.
        *chosen: names of fields, or of panels; all fields if there are none.
    """
    shared = {
        name: parameter.replace(annotation=option_types(of)[name])
        for name, parameter in inspect.signature(of).parameters.items()
        if not chosen
        or name in chosen
        or option_info(option_types(of)[name]).rich_help_panel in chosen
    }
    return functools.partial(_with_options, of, shared)


def _with_options(
    of: type[Any], shared: Mapping[str, inspect.Parameter], command: Callable[..., None]
) -> Callable[..., None]:
    @functools.wraps(command)
    def run(**given: Any) -> None:
        from pipelines import log

        options = of(**{name: given.pop(name) for name in shared})
        log.show(logging.WARNING)
        command(options=options, **given)

    return with_parameters(run, [*shared.values(), *parameters(command, without="options")])


def parameters(command: Callable[..., None], *, without: str = "") -> list[inspect.Parameter]:
    """The parameters of a command, from which Typer makes its options."""
    found = inspect.signature(command, eval_str=True).parameters
    return [parameter for name, parameter in found.items() if name != without]


def with_parameters(
    command: Callable[..., None], parameters: Iterable[inspect.Parameter]
) -> Callable[..., None]:
    """Sets the signature of a command, from which Typer reads its options."""
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in own}
    return command
