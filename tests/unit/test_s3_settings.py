"""The AWS settings that a lake in S3 is opened with are those of the AWS CLI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vblake.s3_client import SettingsError, find_settings

CONFIG = """\
[default]
region = eu-west-1
[profile lab]
region = eu-north-1
endpoint_url = https://all.lab.example
services = of_lab
[services of_lab]
s3 =
  endpoint_url = https://s3.lab.example
"""


@pytest.fixture(autouse=True)
def only_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = reader\naws_secret_access_key = secret\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_endpoint_and_region_come_from_environment_and_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = find_settings()
    assert (found.endpoint_url, found.region, found.credentials) == (None, "eu-west-1", None)
    found = find_settings("lab")
    assert (found.endpoint_url, found.region) == ("https://s3.lab.example", "eu-north-1")
    assert found.credentials is not None
    assert found.credentials()["access_key_id"] == "reader"
    monkeypatch.setenv("AWS_PROFILE", "lab")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, f"https://{name.lower()}.example")
        assert find_settings().endpoint_url == f"https://{name.lower()}.example"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-1")
    assert find_settings().region == "us-west-1"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert find_settings().endpoint_url is None


def test_of_the_environment_alone_comes_what_botocore_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_DEFAULT_REGION": "us-west-1",
        "AWS_ENDPOINT_URL": "https://lab.example",
    }

    def found() -> tuple[object, ...]:
        settings = find_settings()
        assert settings.credentials is not None
        signs = settings.credentials()
        return (
            settings.endpoint_url,
            settings.region,
            signs["access_key_id"],
            signs.get("secret_access_key"),
            signs.get("token"),
        )

    (tmp_path / "config").write_text("")  # makes botocore look
    (tmp_path / "credentials").unlink()
    with_botocore: list[tuple[object, ...]] = []
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        if "AWS_SECRET_ACCESS_KEY" in os.environ:
            with_botocore.append(found())
    (tmp_path / "config").unlink()
    monkeypatch.setitem(sys.modules, "botocore.session", None)  # takes 0.14 s to be imported
    for expected in reversed(with_botocore):
        assert found() == expected
        monkeypatch.delenv([name for name in environment if name in os.environ][-1])


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "hunter2")
    with pytest.raises(SettingsError, match=r"^there is no such AWS profile$") as caught:
        find_settings()
    assert caught.value.__context__ is None
