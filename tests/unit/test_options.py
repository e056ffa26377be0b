"""The options of an ingest: from the command line, from a Dagster run and from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest

from assets.resources import ingest_options
from assets.run import run_config
from pipelines.cli.option_fields import option_types
from pipelines.cli.options import IngestOptions
from pipelines.release.selection import Selection
from pipelines.request import AllowedRule, IngestRequest
from pipelines.source.base import SourceSpec
from schemas.checks import Rule
from schemas.errors import UsageError

EVERY = IngestOptions(
    lake="/l",
    source="s3://other",
    endpoint_url="http://localhost:9000",
    anon=False,
    profile="lab",
    region="eu-west-1",
    timeout=7.5,
    connect_timeout=1.5,
    retries=2,
    verify_hash=True,
    ignore_versions=True,
    release="1.0.1",
    mouse=[1, 2],
    behavior_session=[3],
    experiment=[4],
    where="sex = 'F'",
    tables=["trials, licks", "trials", "events,"],
    allow=["finite:4"],
    force=True,
    workers=3,
    memory="4 GB",
    dask="tcp://x:1",
    dask_wait=5.0,
    wait=90.0,
)
"""Every option with a value that is not its default."""


def recorded(options: IngestOptions) -> IngestOptions:
    """The options that a run gets which is started again with the recorded configuration."""
    config = run_config(options)["resources"]["options"]["config"]
    return run_with(config)


def run_with(config: Mapping[str, Any]) -> IngestOptions:
    """The options of a run with this configuration."""
    made = ingest_options(dg.build_init_resource_context(config=dict(config)))
    return cast("IngestOptions", made)


def test_every_option_has_a_value_here_that_is_not_its_default() -> None:
    defaults = asdict(IngestOptions())
    assert [name for name, value in asdict(EVERY).items() if value == defaults[name]] == []


def test_a_recorded_run_that_is_started_again_does_the_same() -> None:
    assert recorded(EVERY) == EVERY
    assert recorded(EVERY).request() == EVERY.request()
    assert recorded(IngestOptions(lake="/l")) == IngestOptions(lake="/l")


def test_a_recorded_run_has_paths_that_are_valid_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = recorded(IngestOptions(lake="lake", source="bucket"))
    assert (options.lake, options.source) == (f"{tmp_path}/lake", f"{tmp_path}/bucket")


def test_the_request_of_the_options() -> None:
    assert EVERY.request() == IngestRequest(
        source=SourceSpec(
            "s3://other",
            endpoint_url="http://localhost:9000",
            anonymous=False,
            profile="lab",
            region="eu-west-1",
            connect_timeout_s=1.5,
            read_timeout_s=7.5,
            attempts=3,
            ignore_versions=True,
        ),
        lake="/l",
        release="1.0.1",
        selection=Selection((1, 2), (3,), (4,), "sex = 'F'", ("trials", "licks", "events")),
        allow=(AllowedRule(Rule.FINITE, 4),),
        force=True,
        workers=3,
        memory=4 * 10**9,
        dask="tcp://x:1",
        dask_wait_s=5.0,
        verify_hash=True,
        wait_s=90.0,
    )


def test_a_run_without_configuration_takes_its_options_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {
        "VBLAKE_LAKE": "/l",
        "VBLAKE_SOURCE": "s3://other",
        "VBLAKE_TIMEOUT": "7.5",
        "VBLAKE_RETRIES": "2",
        "AWS_ENDPOINT_URL": "http://general",
        "AWS_ENDPOINT_URL_S3": "http://s3",
        "AWS_REGION": "eu-west-1",
        "AWS_PROFILE": "lab",
    }.items():
        monkeypatch.setenv(name, value)
    found = run_with({"release": "1.0.1"})
    assert (found.endpoint_url, found.region, found.profile) == ("http://s3", None, None)
    assert (found.lake, found.source, found.release) == ("/l", "s3://other", "1.0.1")
    assert (found.timeout, found.retries) == (7.5, 2)
    assert run_with({"timeout": 3.0}).timeout == 3.0
    monkeypatch.setenv("VBLAKE_RETRIES", "many")
    with pytest.raises(
        UsageError, match=r"retries is 'many' \(environment VBLAKE_RETRIES\); expected"
    ):
        run_with({})


def test_requests_are_unsigned_unless_credentials_are_asked_for() -> None:
    assert IngestOptions().request().source.anonymous
    assert not IngestOptions(anon=False).request().source.anonymous
    assert not IngestOptions(profile="lab").request().source.anonymous
    with pytest.raises(UsageError, match="A profile signs requests"):
        IngestOptions(profile="lab", anon=True).request()


@pytest.mark.parametrize(("name", "value"), [("retries", -1), ("workers", 0)])
def test_a_run_refuses_numbers_that_the_command_refuses(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=rf"{name} is {value}; expected \d or more"):
        run_with({name: value})


def test_the_form_of_a_run_names_and_describes_every_option() -> None:
    schema = cast("dg.Shape", ingest_options.config_schema.config_type)
    assert set(schema.fields) == set(option_types(IngestOptions))
    described = {name: field.description or "" for name, field in schema.fields.items()}
    assert all(described.values())
    assert "[dim]" not in "".join(described.values())
