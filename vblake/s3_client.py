"""Connects to buckets with obstore: who signs, address, region, certificates, time-outs.

Needs obstore and boto3, which the extra `s3` installs.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError
from obstore.store import S3Store

if TYPE_CHECKING:
    from botocore.session import Session
    from obstore.store import BackoffConfig, ClientConfig, S3Credential, S3CredentialProvider

AWS = "https://s3.{region}.amazonaws.com"
DEFAULT_REGION = "us-east-1"
"""Answers for buckets of all regions; and what most servers other than AWS call theirs."""

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
ATTEMPTS = 8
"""The waits add up to about 25 s, enough for a server to restart."""
BACKOFF: BackoffConfig = {
    "init_backoff": timedelta(seconds=0.5),
    "max_backoff": timedelta(seconds=8),
    "base": 2,
}
LONGEST_ANSWER = timedelta(seconds=600)
"""Each piece of an answer may come within the time-out. Without a bound for the whole answer, a
server that sends a byte a minute would hold a connection for ever."""
NO_PROFILE = "there is no such AWS profile"
NO_CREDENTIALS = "there are no valid AWS credentials"
_REGION_ATTEMPTS = 3
_TALKATIVE = ("boto3", "botocore", "urllib3")


class SettingsError(ValueError):
    """An AWS setting is missing or cannot be used. The message holds no credentials."""


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What the environment and the AWS configuration say, as the AWS CLI reads them.

    Attributes:
        endpoint_url: address of an S3-compatible server; None for AWS.
        region: the user's region, None if none is set.
        credentials: signs the requests; None if there are no credentials.
    """

    endpoint_url: str | None
    region: str | None
    credentials: Callable[[], S3Credential] | None


def find_settings(profile: str | None = None) -> AwsSettings:
    """Finds the user's AWS settings: environment, profile, role of the machine.

    Args:
        profile: name of a profile; None for that of AWS_PROFILE, or the default.

    Raises:
        SettingsError: there is no such profile, or the credentials have expired.
    """
    if (known := _from_environment(profile)) is not None:
        return known
    from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
    from botocore.session import Session
    from obstore.auth.boto3 import Boto3CredentialProvider

    quiet_libraries()
    try:
        session = Session(profile=profile)
        endpoint_url = _endpoint_url(session)
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
        found = None
        if session.get_credentials() is not None:
            found = Boto3CredentialProvider(session)
            found()  # so that expired ones are reported here
    except ProfileNotFound:
        problem = NO_PROFILE
    except (BotoCoreError, ClientError, ValueError, AssertionError):
        problem = NO_CREDENTIALS
    else:
        return AwsSettings(endpoint_url, region, found)
    raise SettingsError(problem)  # outside the handler: boto3's errors can hold secrets


def _from_environment(profile: str | None) -> AwsSettings | None:
    """Returns the settings if nothing but the environment says anything; None if that is not sure.

    botocore takes 0.14 processor seconds to come to the same, a third of `vblake sql`.
    """
    set_ = os.environ
    if profile or any(name in set_ for name in _NEED_BOTOCORE):
        return None
    files = (set_.get(name) or default for name, default in _FILES.items())
    key, secret = set_.get("AWS_ACCESS_KEY_ID"), set_.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret or any(Path(file).expanduser().exists() for file in files):
        return None
    found: S3Credential = {
        "access_key_id": key,
        "secret_access_key": secret,
        "token": set_.get("AWS_SESSION_TOKEN") or set_.get("AWS_SECURITY_TOKEN"),
        "expires_at": None,
    }
    return AwsSettings(
        set_.get("AWS_ENDPOINT_URL_S3") or set_.get("AWS_ENDPOINT_URL") or None,
        set_.get("AWS_REGION") or set_.get("AWS_DEFAULT_REGION") or None,
        lambda: found,
    )


_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}
_NEED_BOTOCORE = (
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
)


def _endpoint_url(session: Session) -> str | None:
    """The address that the environment or the profile sets, in botocore's order.

    A client of boto3 would know it too, but takes 0.1 s to be made.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    return (
        os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or services.get("s3", {}).get("endpoint_url")
        or profile.get("endpoint_url")
    )


def quiet_libraries() -> None:
    """Keeps the S3 libraries from logging at DEBUG, where they write signed headers and tokens."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)


@cache
def open_bucket(bucket: str) -> S3Store:
    """Returns this process's client for a bucket, by the user's AWS settings.

    Without any credentials, requests are unsigned, as for a public bucket. Processes that use it
    must not be forked: obstore's threads do not survive a fork.

    Raises:
        SettingsError: an AWS setting cannot be used.
        ConnectionError: AWS could not be asked for the bucket's region.
    """
    found = find_settings()
    region = found.region or DEFAULT_REGION
    if found.endpoint_url is None:  # a bucket may be in another region than its user
        region = ask_region(AWS.format(region=DEFAULT_REGION), bucket)
    return connect(bucket, found.endpoint_url, region, found.credentials)


def connect(
    bucket: str,
    endpoint_url: str | None,
    region: str,
    credentials: S3CredentialProvider | None,
    *,
    prefix: str | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    read_timeout_s: float = READ_TIMEOUT_S,
    attempts: int = ATTEMPTS,
) -> S3Store:
    """Returns a client for a bucket. Nothing is requested yet.

    Args:
        bucket: its name.
        endpoint_url: address of an S3-compatible server; None for AWS.
        region: region of the bucket.
        credentials: what signs the requests; None for unsigned ones.
        prefix: what all keys begin with.
        connect_timeout_s: longest wait for a connection, in seconds.
        read_timeout_s: longest wait for more data, in seconds.
        attempts: how often a request is sent before its failure is reported.

    Raises:
        SettingsError: a setting cannot be used.
    """
    endpoint = endpoint_url or AWS.format(region=region)
    longest = timedelta(seconds=connect_timeout_s + read_timeout_s) + LONGEST_ANSWER
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=connect_timeout_s),
        "read_timeout": timedelta(seconds=read_timeout_s),
        "timeout": longest,
    }
    if certificates := authorities():
        options["root_certificate"] = certificates
    try:
        return S3Store(
            bucket,
            prefix=prefix,
            region=region,
            endpoint=endpoint,
            aws_endpoint_url_s3=endpoint,  # else variables of the environment would win
            skip_signature=credentials is None,
            virtual_hosted_style_request=False,
            s3_express=False,
            client_options=options,
            retry_config={
                "max_retries": attempts - 1,
                "retry_timeout": attempts * longest,
                "backoff": BACKOFF,
            },
            credential_provider=credentials,
        )
    except (BaseError, ValueError):
        pass
    raise SettingsError(  # not in the handler: obstore's error may hold what a variable is set to
        "a setting is not valid. Check the environment's variables whose names begin with AWS_, "
        "and the file that AWS_CA_BUNDLE names."
    )


def ask_region(address: str, bucket: str, timeout_s: float = CONNECT_TIMEOUT_S) -> str:
    """Asks a server for the region of a bucket.

    Args:
        address: of the server.
        bucket: name of the bucket.
        timeout_s: longest wait, in seconds.

    Raises:
        ConnectionError: the server does not answer.
        SettingsError: the file that AWS_CA_BUNDLE names cannot be read.
    """
    import http.client  # with ssl 30 ms, which a lake on another server need not pay
    import ssl
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{address}/{bucket}", method="HEAD")
    certificates = authorities()
    for _ in range(_REGION_ATTEMPTS):
        try:
            tls = ssl.create_default_context(cadata=certificates and certificates.decode())
            with urllib.request.urlopen(request, timeout=timeout_s, context=tls) as answer:
                headers = answer.headers
        except urllib.error.HTTPError as refusal:
            headers = refusal.headers  # S3 names the region in refusals, too
            refusal.close()
        except (OSError, http.client.HTTPException, ValueError):
            continue
        return headers.get("x-amz-bucket-region") or DEFAULT_REGION
    raise ConnectionError(f"{address} could not be asked for the region of s3://{bucket}")


def authorities() -> bytes | None:
    """Returns the certificates that AWS_CA_BUNDLE names, None if it is not set.

    Raises:
        SettingsError: the file cannot be read.
    """
    path = os.environ.get("AWS_CA_BUNDLE")
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise SettingsError(
            f"{path}, which AWS_CA_BUNDLE names, cannot be read ({error.strerror})."
        ) from None


def explain(error: Exception) -> str:
    """Says what a failed request of obstore means.

    obstore's messages hold URLs, headers and answers of the server. No part of them is repeated
    except an error code of S3 and an HTTP status.
    """
    message = str(error)
    if (status := re.search(r"non-2xx status code: (\d{3})", message)) is not None:
        code = re.search(r"<Code>([A-Za-z0-9.]{1,80})</Code>", message)
        answer = f"the server answered HTTP {status[1]}{f' {code[1]}' if code else ''}"
        if code and code[1] == "NoSuchBucket":
            return f"there is no such bucket ({answer})"
        if status[1] in ("401", "403"):
            return f"these credentials, or unsigned requests, may not do that ({answer})"
        return answer
    for sign, meaning in _SIGNS.items():
        if re.search(sign, message):
            return meaning
    return f"the request failed ({type(error).__name__})"


_SIGNS = {
    "External AWS credential provider": "the AWS credentials cannot be renewed",
    "redirect without LOCATION": "the bucket is in another region",
    "InvalidCertificate|UnknownIssuer|invalid peer certificate": (
        "the server's certificate cannot be trusted"
    ),
    "dns error": "the name of the server cannot be resolved",
    "ConnectionRefused": "the server refuses connections",
    "TimedOut|Timeout": "the server does not answer in time",
    "Interrupted|ConnectionReset|Incomplete|UnexpectedEof|BrokenPipe|ConnectionAborted": (
        "the server broke off the connection"
    ),
}
"""What to search for in obstore's message, with what it means. The first that is found decides."""
