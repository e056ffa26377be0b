"""Options that several commands share, and the request they make together."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.source.base import ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from schemas.errors import UsageError

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from pipelines.request import IngestRequest

DEFAULT_LAKE = "lake"
DEFAULT_SOURCE = "s3://visual-behavior-ophys-data"
DEFAULT_TIMEOUT = READ_TIMEOUT_S
DEFAULT_CONNECT_TIMEOUT = CONNECT_TIMEOUT_S
DEFAULT_RETRIES = ATTEMPTS - 1

_SOURCE_PANEL = "Source"
_SELECTION_PANEL = "Selection (options of one kind add up, different kinds restrict each other)"
WORK_PANEL = "Work"

LakeOption = Annotated[
    str,
    typer.Option(
        "--lake",
        envvar="VBLAKE_LAKE",
        metavar="PATH",
        help="The lake: a folder or an s3:// prefix.",
    ),
]
SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        envvar="VBLAKE_SOURCE",
        metavar="PATH_OR_URL",
        help="The released bucket, or a folder with the same keys.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
EndpointUrlOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        metavar="URL",
        help="Address of an S3-compatible server for the source.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
NoAnonOption = Annotated[
    bool,
    typer.Option(
        "--no-anon",
        help="Sign requests to the source with the usual AWS credentials.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        envvar="VBLAKE_TIMEOUT",
        metavar="SECONDS",
        help="Longest wait for data from the source.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
ConnectTimeoutOption = Annotated[
    float,
    typer.Option(
        "--connect-timeout",
        envvar="VBLAKE_CONNECT_TIMEOUT",
        metavar="SECONDS",
        help="Longest wait for a connection to the source.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
RetriesOption = Annotated[
    int,
    typer.Option(
        "--retries",
        envvar="VBLAKE_RETRIES",
        min=0,
        metavar="N",
        help="How often a request to the source that failed is repeated, after waits of up to 8 s.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Show each request that is repeated.", rich_help_panel=_SOURCE_PANEL
    ),
]
VerifyHashOption = Annotated[
    bool,
    typer.Option(
        "--verify-hash",
        help="Check files against the manifest's hash first; remote ones are fetched whole for that, not just the needed byte ranges.",
        rich_help_panel=_SOURCE_PANEL,
    ),
]
ReleaseOption = Annotated[
    str,
    typer.Option(
        "--release",
        metavar="X.Y.Z",
        help="Release of the dataset: latest or X.Y.Z.",
        rich_help_panel=_SELECTION_PANEL,
    ),
]
MouseOption = Annotated[
    list[int] | None,
    typer.Option(
        "--mouse",
        metavar="ID",
        help="Only this mouse; repeatable.",
        rich_help_panel=_SELECTION_PANEL,
    ),
]
BehaviorSessionOption = Annotated[
    list[int] | None,
    typer.Option(
        "--behavior-session",
        metavar="ID",
        help="Only this behaviour session; repeatable.",
        rich_help_panel=_SELECTION_PANEL,
    ),
]
ExperimentOption = Annotated[
    list[int] | None,
    typer.Option(
        "--experiment",
        metavar="ID",
        help="Only this experiment; repeatable.",
        rich_help_panel=_SELECTION_PANEL,
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="SQL",
        help="Only files for which this is true; over the columns of the project tables.",
        rich_help_panel=_SELECTION_PANEL,
    ),
]
TablesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tables",
        metavar="A,B,C",
        help="Only these tables, comma separated; repeatable. See `vblake tables`.",
        rich_help_panel=_SELECTION_PANEL,
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force", help="Convert again what is already in the lake.", rich_help_panel=WORK_PANEL
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Processes. [dim]\\[default: one per core, as far as memory goes][/dim]",
        show_default=False,
        rich_help_panel=WORK_PANEL,
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Bound on the memory of all processes, like 4GB. [dim]\\[default: half of the machine's][/dim]",
        show_default=False,
        rich_help_panel=WORK_PANEL,
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Use the workers of a Dask scheduler.",
        rich_help_panel=WORK_PANEL,
    ),
]


_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def bytes_of(size: str) -> int:
    """Bytes from text like 4GB, 1.5 GiB or 800MB.

    Raises:
        UsageError: it is not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", size.lower())
    if found is None or found[2] not in _UNITS:
        raise UsageError(f"{size!r} is not a size. Give a number and a unit, like 4GB or 800MB.")
    return int(float(found[1]) * _UNITS[found[2]])


def split_names(given: Iterable[str] | None) -> tuple[str, ...]:
    """Names from a repeatable, comma separated option; each once, in the order given."""
    return tuple(
        dict.fromkeys(
            name.strip() for text in given or () for name in text.split(",") if name.strip()
        )
    )


def request_from_options(
    *,
    lake: LakeOption = DEFAULT_LAKE,
    source: SourceOption = DEFAULT_SOURCE,
    endpoint_url: EndpointUrlOption = None,
    no_anon: NoAnonOption = False,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    connect_timeout: ConnectTimeoutOption = DEFAULT_CONNECT_TIMEOUT,
    retries: RetriesOption = DEFAULT_RETRIES,
    verbose: VerboseOption = False,
    verify_hash: VerifyHashOption = False,
    release: ReleaseOption = "latest",
    mouse: MouseOption = None,
    behavior_session: BehaviorSessionOption = None,
    experiment: ExperimentOption = None,
    where: WhereOption = None,
    tables: TablesOption = None,
    force: ForceOption = False,
    workers: WorkersOption = None,
    memory: MemoryOption = None,
    dask: DaskOption = None,
) -> IngestRequest:
    """The request that the options of `plan` and `ingest` make, which are the parameters of this function.

    With `verbose` the log is shown in more detail from here on.

    Raises:
        UsageError: the source or endpoint cannot be used.
    """
    from pipelines import log
    from pipelines.release.selection import Selection
    from pipelines.request import IngestRequest
    from pipelines.source.base import SourceSpec

    log.show(log.DETAILS if verbose else log.WARNINGS)
    return IngestRequest(
        source=SourceSpec(
            source,
            endpoint_url=endpoint_url,
            anonymous=not no_anon,
            connect_timeout_s=connect_timeout,
            read_timeout_s=timeout,
            attempts=retries + 1,
        ),
        lake=lake,
        release=release,
        selection=Selection(
            mice=tuple(mouse or ()),
            behavior_sessions=tuple(behavior_session or ()),
            experiments=tuple(experiment or ()),
            where=where,
            tables=split_names(tables),
        ),
        force=force,
        workers=workers,
        memory=None if memory is None else bytes_of(memory),
        dask=dask,
        verify_hash=verify_hash,
    )


@dataclass(frozen=True)
class Asked:
    """What a command was given for the options of `request_from_options`."""

    values: Mapping[str, Any]

    def request(self) -> IngestRequest:
        """As a request; see `request_from_options`."""
        return request_from_options(**self.values)


def with_request(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `request_from_options` beside its own, and their values as its parameter `asked`."""
    shared = inspect.signature(
        request_from_options, eval_str=True, locals={"IngestRequest": None}
    ).parameters
    own = {
        name: p
        for name, p in inspect.signature(command, eval_str=True).parameters.items()
        if name != "asked"
    }

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(asked=Asked({name: given.pop(name) for name in shared}), **given)

    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*shared.values(), *own.values())
    ]
    # Typer reads a command's options off its signature.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
