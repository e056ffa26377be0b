"""Dagster resources: where source and lake are, and what a run shares with the command that it records."""

import os
from concurrent.futures import Future
from dataclasses import dataclass, field

from dagster import Config, ConfigurableResource, ResourceDefinition
from pydantic import Field

from pipelines.ingest import MouseReport, Prepared
from pipelines.release.selection import Selection
from pipelines.request import IngestRequest
from pipelines.source.base import ATTEMPTS, CONNECT_TIMEOUT_S, READ_TIMEOUT_S, SourceSpec
from schemas.errors import UsageError

PUBLIC_BUCKET = "s3://visual-behavior-ophys-data"


def _number(variable: str, default: float) -> float:
    """The number in an environment variable; the default where it is not set."""
    text = os.environ.get(variable)
    try:
        return default if text is None else float(text)
    except ValueError:
        raise UsageError(f"{variable} is {text!r}; expected a number.") from None


class LakeResource(ConfigurableResource[None]):
    """Where to read and where to write. Defaults come from the same environment variables as the command's."""

    source: str = Field(
        default_factory=lambda: os.environ.get("VBLAKE_SOURCE", PUBLIC_BUCKET),
        description="Bucket or folder with its keys.",
    )
    endpoint_url: str | None = Field(
        default=None, description="Address of an S3-compatible server; none for AWS."
    )
    anonymous: bool = Field(default=True, description="Send unsigned requests.")
    timeout: float = Field(
        default_factory=lambda: _number("VBLAKE_TIMEOUT", READ_TIMEOUT_S),
        description="Longest wait for data from the source, seconds.",
    )
    connect_timeout: float = Field(
        default_factory=lambda: _number("VBLAKE_CONNECT_TIMEOUT", CONNECT_TIMEOUT_S),
        description="Longest wait for a connection to the source, seconds.",
    )
    retries: int = Field(
        default_factory=lambda: int(_number("VBLAKE_RETRIES", ATTEMPTS - 1)),
        description="How often a request that failed is repeated.",
    )
    lake: str = Field(
        default_factory=lambda: os.environ.get("VBLAKE_LAKE", "lake"),
        description="Folder or s3:// prefix of the lake.",
    )
    release: str = Field(default="latest", description="latest or X.Y.Z.")
    workers: int | None = Field(
        default=None, description="Worker processes; none for as many as there is room for."
    )
    memory: int | None = Field(
        default=None,
        description="Bound on the memory of all workers, bytes; none for half of the machine's.",
    )
    dask: str | None = Field(
        default=None, description="Address of a Dask scheduler to use instead of processes."
    )

    def source_spec(self) -> SourceSpec:
        """The source as the pipelines take it."""
        return SourceSpec(
            self.source,
            self.endpoint_url,
            self.anonymous,
            connect_timeout_s=self.connect_timeout,
            read_timeout_s=self.timeout,
            attempts=self.retries + 1,
        )

    def request(self, selection: Selection, *, force: bool = False) -> IngestRequest:
        """An ingest of a selection from this source into this lake."""
        return IngestRequest(
            self.source_spec(),
            self.lake,
            release=self.release,
            selection=selection,
            force=force,
            workers=self.workers,
            memory=self.memory,
            dask=self.dask,
        )


class IngestConfig(Config):
    """What a run ingests beside its partitions; empty means everything."""

    mice: list[int] = Field(
        default_factory=list[int], description="Only these mice of the run's partitions."
    )
    behavior_sessions: list[int] = Field(
        default_factory=list[int], description="Only these behaviour sessions."
    )
    experiments: list[int] = Field(default_factory=list[int], description="Only these experiments.")
    where: str | None = Field(
        default=None, description="SQL boolean over the columns of the project tables."
    )
    force: bool = Field(default=False, description="Convert again what the lake holds already.")


@dataclass(frozen=True)
class SharedRun:
    """The ingest of a command that a run records; empty for runs started from the UI, which ingest themselves.

    Attributes:
        prepared: the command's plan.
        reports: what the ingest has done, as soon as it is done.
    """

    prepared: Prepared | None = None
    reports: Future[list[MouseReport]] = field(default_factory=Future[list[MouseReport]])

    def resource(self) -> ResourceDefinition:
        """As the resource `shared`."""
        return ResourceDefinition.hardcoded_resource(self)
