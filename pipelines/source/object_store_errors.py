"""What a failed request to a bucket means, in one line for the user.

obstore's messages hold request URLs, headers and answers of the server. They are only searched for
what went wrong; no part of them goes into a message, except an error code of S3 and an HTTP status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from obstore.exceptions import PreconditionError

from pipelines.source.base import ReplacedError, SourceSpec
from schemas.errors import SourceError, TransientSourceError


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed.

    Attributes:
        kind: the error to raise.
        text: what happened, as part of a sentence.
        hint: what the user can do, as a sentence.
    """

    kind: type[SourceError]
    text: str
    hint: str


class ListingError(TransientSourceError):
    """A listing broke off, or is not one of S3's. It can be requested again."""


_LATER = "Try again later."
_NETWORK = "Check network and endpoint url, or try again later."
_ENDPOINT = "Check the endpoint url."
OTHER_COPY = (
    "Read a copy that keeps no versions with --ignore-versions, or read from the released bucket."
)

_BAD_CREDENTIALS = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
)
_WRONG_REGION = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException")

_SIGNS = (
    # The first that is found in obstore's message decides.
    (
        r"External AWS credential provider",
        SourceError,
        "the AWS credentials cannot be renewed",
        "Log in again (aws sso login), or leave out --no-anon and --profile.",
    ),
    (
        r"redirect without LOCATION",
        SourceError,
        "the bucket is in another region than {region}",
        "Leave out --region, AWS_REGION and AWS_DEFAULT_REGION, or give the bucket's.",
    ),
    (
        r"TooManyRedirects",
        SourceError,
        "the server redirects every request",
        "Check endpoint url (http, https) and region.",
    ),
    (
        r"non-partial response|Requested \d+\.\.\d+, got",
        SourceError,
        "the server does not answer range requests",
        "Read from the released bucket or from a local copy.",
    ),
    (
        r"list response",
        ListingError,
        "the listing broke off or is not one of S3's",
        _NETWORK,
    ),
    (
        r"InvalidCertificate|UnknownIssuer|invalid peer certificate",
        TransientSourceError,
        "the certificate of {server} cannot be trusted",
        "Check the endpoint url; AWS_CA_BUNDLE names the file of an authority of your own.",
    ),
    (
        r"InvalidContentType|InvalidMessage|CorruptMessage",
        TransientSourceError,
        "{server} does not speak TLS",
        "Check the endpoint url: http instead of https?",
    ),
    (
        r"dns error",
        TransientSourceError,
        "the name {server} cannot be resolved",
        "Check endpoint url and network.",
    ),
    (
        r"ConnectionRefused",
        TransientSourceError,
        "{server}, or the proxy on the way to it, refuses connections",
        "Check endpoint url, HTTPS_PROXY and HTTP_PROXY, or try again later.",
    ),
    (
        r"(?s)Connect,.*(TimedOut|Timeout)",
        TransientSourceError,
        "{server} did not accept a connection within {connect:g} s",
        "Try again later, or give a longer --connect-timeout.",
    ),
    (
        r"TimedOut|Timeout",
        TransientSourceError,
        "{server} sent nothing for {read:g} s, or too slowly",
        "Try again later, or give a longer --timeout.",
    ),
    (
        r"Interrupted|ConnectionReset|Incomplete|UnexpectedEof|BrokenPipe|ConnectionAborted",
        TransientSourceError,
        "{server} broke off the connection",
        _NETWORK,
    ),
)


def explain(error: Exception, spec: SourceSpec, region: str, version_id: str | None) -> Failure:
    """Returns what an error of obstore means.

    Args:
        error: what obstore raised.
        spec: the source that was asked.
        region: the region that was asked.
        version_id: the version that was asked for.
    """
    if isinstance(error, PreconditionError):
        return Failure(
            ReplacedError, "the object was replaced while it was read", "Run the command again."
        )
    message = str(error)
    sent = re.search(r"after (\d+) retries", message)
    attempts = f" ({int(sent[1]) + 1} attempts)" if sent else ""
    if (status := re.search(r"non-2xx status code: (\d{3})", message)) is not None:
        code = re.search(r"<Code>([A-Za-z0-9.]{1,80})</Code>", message)
        return _refusal(int(status[1]), code[1] if code else "", attempts, spec, region, version_id)
    server = urlsplit(spec.endpoint_url or f"https://s3.{region}.amazonaws.com").netloc
    for sign, kind, text, hint in _SIGNS:
        if re.search(sign, message):
            told = text.format(
                server=server,
                region=region,
                connect=spec.connect_timeout_s,
                read=spec.read_timeout_s,
            )
            return Failure(kind, told + attempts, hint)
    return Failure(
        TransientSourceError,
        f"the request to {server} failed ({type(error).__name__})",
        "Check source, endpoint url and AWS settings, or try again later.",
    )


def _refusal(
    status: int,
    code: str,
    attempts: str,
    spec: SourceSpec,
    region: str,
    version_id: str | None,
) -> Failure:
    """Returns what an error means that the server answered with."""
    answer = f"the server answered HTTP {status}{f' {code}' if code else ''}"
    if status >= 500 or status in (408, 429):
        return Failure(TransientSourceError, answer + attempts, _LATER)
    if code == "NoSuchBucket":
        text, hint = "there is no such bucket", "Check source and endpoint url."
    elif code in _WRONG_REGION:
        text = f"the bucket is in another region than {region}"
        hint = "Leave out --region, AWS_REGION and AWS_DEFAULT_REGION, or give the bucket's."
    elif code in _BAD_CREDENTIALS:
        text = "the AWS credentials are not valid here"
        hint = "Renew them, or leave out --no-anon and --profile."
    elif status in (401, 403):
        how = "unsigned requests" if spec.anonymous else "these credentials"
        text = f"{how} may not read it, or it does not exist"
        hint = "Buckets that are not public need credentials (--no-anon or --profile)."
    elif version_id is not None and status in (400, 404, 405):
        text = "the bucket has no such version of it, which the manifest pins"
        hint = OTHER_COPY
    elif status == 404:
        text, hint = "there is no such object", "Check the source."
    else:
        text, hint = "the request was refused", "Check source, endpoint url and region."
    return Failure(SourceError, f"{text} ({answer})", hint)
