"""The options that several commands share; `IngestOptions` lists those of an ingest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from pipelines.cli.option_fields import from_settings, panel
from pipelines.source.base import ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S
from schemas.errors import UsageError

if TYPE_CHECKING:
    from pipelines.request import IngestRequest

WEEKLY = "0 3 * * 0"
_CRON_FIELDS = 5

DEFAULT_LAKE = "lake"
DEFAULT_SOURCE = "s3://visual-behavior-ophys-data"


_source = panel("Source")
_selection = panel("Selection (ids add up)")
_work = panel("Work")
_interface = panel("Keeping the lake current")

LakeOption = Annotated[
    str,
    typer.Option(
        "--lake",
        envvar="VBLAKE_LAKE",
        show_envvar=False,
        metavar="PLACE",
        help="The lake: a folder or an s3:// prefix.",
    ),
]
SourceOption = Annotated[
    str,
    _source(
        "PLACE",
        "The released bucket, or a folder with the same keys.",
        envvar="VBLAKE_SOURCE",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class OutputFormat(StrEnum):
    """What a report is printed as."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    OutputFormat, typer.Option("--format", help="For people or for programs; --json is the latter.")
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


def workers_memory(size: str) -> int:
    """Bytes that all workers may take together.

    Raises:
        UsageError: it is not a size, or too little for one worker.
    """
    from pipelines.convert.worker import BYTES_PER_WORKER

    given = bytes_of(size)
    if given < BYTES_PER_WORKER:
        least = f"{BYTES_PER_WORKER // 10**6} MB"
        raise UsageError(
            f"--memory {size} is too little: a worker takes up to {least}. Give {least} or more."
        )
    return given


def split_names(given: Iterable[str] | None) -> tuple[str, ...]:
    """Names from a repeatable, comma separated option; each once, in the order given."""
    return tuple(
        dict.fromkeys(
            name.strip() for text in given or () for name in text.split(",") if name.strip()
        )
    )


def absolute(place: str) -> str:
    """A folder as an absolute path; an `s3://` address as it is.

    >>> absolute("s3://bucket/lake")
    's3://bucket/lake'
    """
    return place if "://" in place else os.path.abspath(place)  # noqa: PTH100 - text in, text out


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """The options of `vblake plan` and `vblake ingest`, as they are typed.

    This is the only list of them: the command line, the configuration of a Dagster run and its
    form in `vblake ui` are all made from these fields. To add an option, add a field here and
    use it in `request`. Its environment variable and its name in `vblake.toml` follow from the
    field's (`pipelines.cli.settings`). Fields are plain JSON values, so that a recorded run can be
    repeated.
    """

    lake: LakeOption = DEFAULT_LAKE
    source: SourceOption = DEFAULT_SOURCE
    endpoint_url: Annotated[
        str | None,
        _source(
            "URL",
            "Address of an S3-compatible server for the source. AWS_CA_BUNDLE, HTTPS_PROXY and "
            "NO_PROXY are honoured, too.",
            envvar=["VBLAKE_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
        ),
    ] = None
    anon: Annotated[
        bool | None,
        _source(
            None,
            "Send unsigned requests to the source, whatever credentials there are, or signed ones. "
            "Credentials are found as by the AWS CLI: AWS_PROFILE, AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, ~/.aws, SSO, role of the machine.",
            "--anon/--no-anon",
            show_default="unsigned, signed with --profile",
        ),
    ] = None
    profile: Annotated[
        str | None,
        _source("NAME", "Sign requests to the source with the credentials of this AWS profile."),
    ] = None
    region: Annotated[
        str | None,
        _source(
            "NAME",
            "AWS region of the source.",
            show_default="us-west-2 for the released bucket; for others AWS_REGION or "
            "AWS_DEFAULT_REGION, or what S3 answers",
        ),
    ] = None
    timeout: Annotated[
        float,
        _source("SECONDS", "Longest wait for data from the source."),
    ] = READ_TIMEOUT_S
    connect_timeout: Annotated[
        float,
        _source(
            "SECONDS",
            "Longest wait for a connection to the source.",
        ),
    ] = CONNECT_TIMEOUT_S
    retries: Annotated[
        int,
        _source(
            "N",
            "How often a failed request to the source is repeated, with waits of up to 8 s.",
            min=0,
        ),
    ] = ATTEMPTS - 1
    verify_hash: Annotated[
        bool,
        _source(
            None,
            "Check each file against the manifest's hash before reading it. "
            "Files of a bucket are then fetched whole, not only the byte ranges needed.",
            "--verify-hash",
        ),
    ] = False
    ignore_versions: Annotated[
        bool,
        _source(
            None,
            "Read a copy of the bucket that keeps no versions. Files are checked as with "
            "--verify-hash, which proves that they are those of the release.",
            "--ignore-versions",
        ),
    ] = False
    release: Annotated[
        str | None,
        _selection(
            "X.Y.Z",
            "Release of the dataset: X.Y.Z, at which the lake stays, or latest, which it follows.",
            show_default="what the lake follows; latest for a new one",
        ),
    ] = None
    mouse: Annotated[list[int] | None, _selection("ID", "Files of this mouse; repeatable.")] = None
    behavior_session: Annotated[
        list[int] | None, _selection("ID", "Files of this behaviour session; repeatable.")
    ] = None
    experiment: Annotated[
        list[int] | None, _selection("ID", "The file of this experiment; repeatable.")
    ] = None
    where: Annotated[
        str | None,
        _selection(
            "SQL",
            "Only files, of the ids too, for which this expression over the project tables' "
            "columns is true.",
        ),
    ] = None
    tables: Annotated[
        list[str] | None,
        _selection("A,B,C", "Only these tables, comma separated; repeatable. See `vblake tables`."),
    ] = None
    allow: Annotated[
        list[str] | None,
        _work(
            "RULE[:FILE_KEY]",
            "Publish rows that break this rule, unchanged; repeatable. See `vblake rules`.",
        ),
    ] = None
    force: Annotated[bool, _work(None, "Convert again what is already in the lake.", "--force")] = (
        False
    )
    workers: Annotated[
        int | None,
        _work(
            "N",
            "Worker processes.",
            min=1,
            show_default="one per core, fewer if memory is short",
        ),
    ] = None
    memory: Annotated[
        str | None,
        _work(
            "SIZE",
            "Bound on the memory of all worker processes, like 4GB. Each takes up to 512 MB.",
            show_default="half of the machine's",
        ),
    ] = None
    dask: Annotated[
        str | None,
        _work("ADDRESS", "Address of a Dask scheduler whose workers convert the files."),
    ] = None
    dask_wait: Annotated[
        float | None,
        _work(
            "SECONDS",
            "How long to wait for Dask workers while there are none.",
            min=0,
            show_default="600",
        ),
    ] = None
    wait: Annotated[
        float | None,
        _work(
            "SECONDS",
            "How long to wait for another process that writes to the lake.",
            min=0,
            show_default="not at all; runs of the web interface wait up to 12 hours",
        ),
    ] = None

    @classmethod
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        """Options from some given values; the others come from variables, the file, or defaults.

        Raises:
            UsageError: a value cannot be one of its option.
        """
        return from_settings(cls, "ingest", given)

    def from_any_folder(self) -> Self:
        """The same options with absolute paths, for a process with another working directory."""
        return replace(self, lake=absolute(self.lake), source=absolute(self.source))

    def request(self) -> IngestRequest:
        """The request that these options make.

        Raises:
            UsageError: the source, the endpoint or the memory cannot be used.
        """
        from pipelines.release.selection import Selection
        from pipelines.request import DASK_WAIT_S, AllowedRule, IngestRequest
        from pipelines.source.base import SourceSpec

        return IngestRequest(
            source=SourceSpec(
                self.source,
                endpoint_url=self.endpoint_url,
                anonymous=self.profile is None if self.anon is None else self.anon,
                profile=self.profile,
                region=self.region,
                connect_timeout_s=self.connect_timeout,
                read_timeout_s=self.timeout,
                attempts=self.retries + 1,
                ignore_versions=self.ignore_versions,
            ),
            lake=self.lake,
            release=self.release,
            selection=Selection(
                mice=tuple(self.mouse or ()),
                behavior_sessions=tuple(self.behavior_session or ()),
                experiments=tuple(self.experiment or ()),
                where=self.where,
                tables=split_names(self.tables),
            ),
            allow=tuple(AllowedRule.parse(text) for text in self.allow or ()),
            force=self.force,
            workers=self.workers,
            memory=None if self.memory is None else workers_memory(self.memory),
            dask=self.dask,
            dask_wait_s=DASK_WAIT_S if self.dask_wait is None else self.dask_wait,
            verify_hash=self.verify_hash,
            wait_s=self.wait or 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class UiOptions:
    """The options of `vblake ui` that Dagster's processes read: how a lake is kept current.

    The command hands its flags on to them as environment variables.
    """

    schedule: Annotated[
        str | None,
        _interface(
            "CRON",
            "Times of the ingests as a cron expression, UTC; switches the schedule on.",
            show_default="weekly, once it is switched on in the web interface",
        ),
    ] = None
    mice_per_run: Annotated[
        int | None,
        _interface("N", "Mice in each run of a backfill.", min=1, show_default="all in one run"),
    ] = None
    fresh_days: Annotated[
        float, _interface("DAYS", "Age at which the catalog is no longer fresh.", min=0.01)
    ] = 14.0
    owner: Annotated[
        str, _interface("NAME", "Shown beside the tables: an e-mail address, or team:NAME.")
    ] = "team:lab"
    webhook: Annotated[
        str | None,
        _interface("URL", "Receives a JSON message when a run fails.", hide_input=True),
    ] = None
    email: Annotated[str | None, _interface("ADDRESS", "Receives a mail when a run fails.")] = None
    smtp: Annotated[str, _interface("HOST[:PORT]", "Mail server for such news.")] = "localhost"

    def __post_init__(self) -> None:
        # Here, as Dagster would say it in a traceback of its code server.
        cron = self.schedule
        if cron is not None and len(cron.split()) != _CRON_FIELDS and not cron.startswith("@"):
            raise UsageError(
                f"schedule is {cron!r}; expected a cron expression of five fields, like {WEEKLY!r}."
            )
        if self.webhook is not None and not self.webhook.startswith(("http://", "https://")):
            raise UsageError("webhook is no http:// or https:// address.")
