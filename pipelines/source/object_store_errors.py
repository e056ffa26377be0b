"""What a failed S3 request means: in words, and whether to ask again.

Nothing of what libraries say of an error goes into a message: their texts hold request URLs, headers and access keys.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast
from urllib.parse import urlsplit

from pipelines.source.base import SourceSpec


class Again(Enum):
    """Whether to repeat a request that failed."""

    LATER = "later"
    """The server or the network is in trouble: wait longer each time."""
    CONFIRM = "confirm"
    """A definite answer. A load balancer may still be wrong about it once, so it is to be given a few times, shortly after one another."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request failed.

    Attributes:
        cause: in a few words, for logs and counts, e.g. `HTTP 503 SlowDown`.
        text: as a part of a sentence, for the error.
        hint: what the user can do, a sentence.
        again: whether to repeat the request.
        replaced: the object is not the one that it was when reading it began.
    """

    cause: str
    text: str
    hint: str
    again: Again
    replaced: bool = False


class AnswerError(Exception):
    """An answer that came, but is not what was asked for."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.cause)
        self.trouble = trouble


_LATER = "Try again later."
_NETWORK = "Check network and endpoint url, or try again later."
_TRANSIENT_CODES = frozenset(
    (
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "BadDigest",
    )
)
# 501, 505: what the server cannot do now it will not do later.
_TRANSIENT_STATUS = frozenset(
    (408, 425, 429, *(status for status in range(500, 600) if status not in (501, 505)))
)


def garbage(what: str) -> AnswerError:
    """The server sent something that S3 does not send."""
    return AnswerError(
        Trouble(
            "garbled answer", f"the answer is not what S3 sends ({what})", _NETWORK, Again.LATER
        )
    )


def broken_off(received: int, expected: int) -> AnswerError:
    """A body ended too early."""
    return AnswerError(
        Trouble(
            "short answer",
            f"the transfer broke off after {received} of {expected} bytes",
            _LATER,
            Again.LATER,
        )
    )


def not_a_range() -> AnswerError:
    """The whole object, or another part of it, came for a range."""
    hint = "Read from the released bucket or from a local copy."
    return AnswerError(
        Trouble(
            "not the range asked for",
            "the server does not answer range requests",
            hint,
            Again.CONFIRM,
        )
    )


def replaced(difference: str, *, again: Again) -> AnswerError:
    """Another object came than the one whose reading was begun."""
    text = f"the object was replaced while it was read ({difference})"
    return AnswerError(
        Trouble("another object", text, "Run the same command again.", again, replaced=True)
    )


def another_version(found: str | None) -> AnswerError:
    """Another version came than the one asked for."""
    text = f"the server sent {plain(found) if found else 'no version id'}; it does not keep versions as S3 does"
    hint = "Read from the released bucket or from a local copy."
    return AnswerError(Trouble("another version", text, hint, Again.CONFIRM))


def plain(text: str) -> str:
    """What a server sent, fit for a terminal and a line: letters, digits and a few signs, not too long."""
    return re.sub(r"[^\w.:/+=-]", "?", text.strip('"'), flags=re.ASCII)[:80] or "nothing"


def explain(caught: Exception, spec: SourceSpec, version_id: str | None) -> Trouble:
    """The trouble behind what a request raised.

    Args:
        caught: error of botocore, aiohttp or the operating system, or an `AnswerError`.
        spec: the source that was asked.
        version_id: version that was asked for.
    """
    from botocore.exceptions import ClientError

    if isinstance(caught, AnswerError):
        return caught.trouble
    if isinstance(
        caught, RecursionError
    ):  # botocore follows a server that redirects everything, e.g. from http to https
        text = "the server redirects every request"
        return Trouble(
            "redirected for ever", text, "Check endpoint url (http, https) and region.", Again.NEVER
        )
    if isinstance(caught, ClientError):
        return _refusal(cast("dict[str, Any]", caught.response), spec, version_id)
    return _unusable(caught) or _connection(caught, spec)


def _refusal(response: dict[str, Any], spec: SourceSpec, version_id: str | None) -> Trouble:
    """An error that the server answered with."""
    code = plain(str(response.get("Error", {}).get("Code", "")))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # An answer without a body, as to HEAD, has its status for a code.
    cause = f"HTTP {status}" if code in ("nothing", str(status)) else f"HTTP {status} {code}"
    answer = f"the server answered {cause}"
    if status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES:
        # botocore makes a 500 of a 200 whose XML it cannot read.
        unread = ", or what is no XML of S3's" if (status, code) == (500, "500") else ""
        return Trouble(cause, answer + unread, _LATER, Again.LATER)
    if code == "NoSuchBucket":
        text, hint = "there is no such bucket", "Check source and endpoint url."
    elif code in ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"):
        text, hint = "the AWS credentials are not valid here", "Renew them, or leave out --no-anon."
    elif status in (401, 403):
        how = "unsigned requests" if spec.anonymous else "these credentials"
        text, hint = (
            f"{how} may not read it, or it does not exist",
            "Buckets that are not public need credentials (--no-anon).",
        )
    elif version_id is not None and status in (400, 404, 405):
        text = "the bucket has no such version of it, which the manifest pins"
        hint = "This copy is not complete: read from the released bucket."
    elif status == 404:
        text, hint = "there is no such object", "Check the source."
    else:
        text, hint = "the request was refused", "Check source, endpoint url and region."
    return Trouble(cause, f"{text} ({answer})", hint, Again.CONFIRM)


def _unusable(caught: Exception) -> Trouble | None:
    """Errors from before a request is sent, and from reading its answer."""
    from botocore import exceptions as botocore
    from botocore.parsers import ResponseParserError

    kind = type(caught).__name__
    if isinstance(caught, ResponseParserError):
        return garbage(kind).trouble
    if isinstance(caught, botocore.FlexibleChecksumError):
        return Trouble(
            "wrong checksum",
            "what came does not have the checksum that the server gave",
            _LATER,
            Again.LATER,
        )
    if not isinstance(caught, botocore.BotoCoreError) or isinstance(
        caught, (botocore.ConnectionError, botocore.HTTPClientError)
    ):
        return None
    if isinstance(caught, (botocore.NoCredentialsError, botocore.PartialCredentialsError)):
        text, hint = (
            "there are no complete AWS credentials",
            "Set them in the usual AWS places, or leave out --no-anon.",
        )
    elif isinstance(caught, botocore.ProfileNotFound):
        text, hint = "there is no such AWS profile as AWS_PROFILE names", "Correct or unset it."
    else:
        text, hint = (
            f"the request could not be made ({kind})",
            "Check source, endpoint url and AWS settings.",
        )
    return Trouble(kind, text, hint, Again.NEVER)


def _connection(caught: Exception, spec: SourceSpec) -> Trouble:
    """Errors of the network: the innermost error that tells most."""
    import aiohttp
    from botocore import exceptions as botocore

    server = (
        urlsplit(spec.endpoint_url).netloc
        if spec.endpoint_url
        else f"s3.{spec.region}.amazonaws.com"
    )
    causes = _chain(caught)

    def first(*kinds: type[BaseException], among: list[BaseException] = causes) -> Any:
        return next((cause for cause in among if isinstance(cause, kinds)), None)

    # aiohttp's errors are those of the ssl module as well, but do not say what these say.
    own = [cause for cause in causes if not isinstance(cause, aiohttp.ClientError)]

    if first(botocore.ProxyConnectionError):
        return Trouble(
            "no proxy",
            "the proxy cannot be reached",
            "Check HTTPS_PROXY and HTTP_PROXY.",
            Again.LATER,
        )
    if (untrusted := first(ssl.SSLCertVerificationError, among=own)) is not None:
        text = f"the certificate of {server} cannot be trusted ({untrusted.verify_message})"
        return Trouble(
            "untrusted certificate",
            text,
            "Check endpoint url; AWS_CA_BUNDLE names the file of an authority of your own.",
            Again.NEVER,
        )
    if (
        failed := first(ssl.SSLError, among=own)
    ) is not None and failed.reason == "WRONG_VERSION_NUMBER":
        return Trouble(
            "no TLS",
            f"{server} does not speak TLS",
            "Check endpoint url: http instead of https?",
            Again.NEVER,
        )
    if failed is not None:
        return Trouble(
            "TLS error",
            f"the TLS connection to {server} failed ({failed.reason})",
            _NETWORK,
            Again.LATER,
        )
    if (unknown := first(socket.gaierror, among=own)) is not None:
        # Not knowing a name may be for want of a network; knowing that it does not exist is an answer.
        again = Again.CONFIRM if unknown.errno == socket.EAI_NONAME else Again.LATER
        return Trouble(
            "unknown host",
            f"the name {server} cannot be resolved",
            "Check endpoint url and network.",
            again,
        )
    if first(ConnectionRefusedError):
        return Trouble(
            "connection refused",
            f"{server} refuses connections",
            "Check endpoint url, or try again later.",
            Again.LATER,
        )
    if first(botocore.ConnectTimeoutError, aiohttp.ConnectionTimeoutError):
        text = f"{server} did not accept a connection within {spec.connect_timeout_s:g} s"
        return Trouble(
            "time-out", text, "Try again later, or give a longer --connect-timeout.", Again.LATER
        )
    if first(TimeoutError, botocore.ReadTimeoutError):
        text = f"{server} sent nothing for {spec.read_timeout_s:g} s, or too slowly"
        return Trouble(
            "time-out", text, "Try again later, or give a longer --timeout.", Again.LATER
        )
    if first(
        ConnectionResetError,
        BrokenPipeError,
        aiohttp.ServerDisconnectedError,
        aiohttp.ClientPayloadError,
        botocore.ConnectionClosedError,
    ):
        return Trouble(
            "connection lost", f"{server} broke off the connection", _NETWORK, Again.LATER
        )
    kind = type(causes[-1]).__name__
    return Trouble(
        f"connection failed ({kind})",
        f"the connection to {server} failed ({kind})",
        _NETWORK,
        Again.LATER,
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those behind it, the outermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            named = cast("dict[str, object]", getattr(one, "kwargs", {})).get("error")  # botocore's
            waiting += [
                one.__cause__,
                one.__context__,
                named,
                getattr(one, "os_error", None),
                getattr(one, "certificate_error", None),
            ]
    return found
