"""What a failed request to a bucket means, in one line for the user.

obstore's messages hold request URLs, headers and answers of the server. They are only searched for
what went wrong; no part of them goes into a message, except an error code of S3 and an HTTP status.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from obstore.exceptions import PreconditionError

from pipelines.source.base import ReplacedError, SourceSpec
from schemas.errors import SourceError, TransientSourceError


class ListingError(TransientSourceError):
    """A listing broke off, or is not one of S3's. It can be requested again."""


OTHER_COPY = (
    "Read a copy that keeps no versions with --ignore-versions, or read from the released bucket."
)
_OTHER_REGION = (
    "the bucket is in another region than {region}",
    "Leave out --region, AWS_REGION and AWS_DEFAULT_REGION, or give the bucket's.",
)
_BAD_CREDENTIALS = ("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
_WRONG_REGION = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException")

_DEFINITE = {
    "External AWS credential provider": (
        "the AWS credentials cannot be renewed",
        "Log in again (aws sso login), or leave out --no-anon and --profile.",
    ),
    "redirect without LOCATION": _OTHER_REGION,
    "TooManyRedirects": (
        "the server redirects every request",
        "Check --endpoint-url (http or https?) and --region.",
    ),
    r"non-partial response|Requested \d+\.\.\d+, got": (
        "the server does not answer range requests",
        "Read from the released bucket or from a local copy.",
    ),
}
"""What to search for in obstore's message, with what happened and what the user can do. The first
that is found decides."""
_PASSING = {
    "list response": (
        "the listing broke off or is not one of S3's",
        "Check the network and --endpoint-url, or try again later.",
    ),
    "InvalidCertificate|UnknownIssuer|invalid peer certificate": (
        "the certificate of {server} cannot be trusted",
        "Check --endpoint-url; AWS_CA_BUNDLE names the file of an authority of your own.",
    ),
    "InvalidContentType|InvalidMessage|CorruptMessage": (
        "{server} does not speak TLS",
        "Check --endpoint-url: http instead of https?",
    ),
    "dns error": (
        "the name {server} cannot be resolved",
        "Check the network and --endpoint-url.",
    ),
    "ConnectionRefused": (
        "{server}, or the proxy on the way to it, refuses connections",
        "Check --endpoint-url, HTTPS_PROXY and HTTP_PROXY, or try again later.",
    ),
    "(?s)Connect,.*(TimedOut|Timeout)": (
        "{server} did not accept a connection within {connect:g} s",
        "Try again later, or give a longer --connect-timeout.",
    ),
    "TimedOut|Timeout": (
        "{server} sent nothing for {read:g} s, or too slowly",
        "Try again later, or give a longer --timeout.",
    ),
    "Interrupted|ConnectionReset|Incomplete|UnexpectedEof|BrokenPipe|ConnectionAborted": (
        "{server} broke off the connection",
        "Check the network and --endpoint-url, or try again later.",
    ),
}
"""The same, for what may succeed later."""


def explained(
    error: Exception, what: str, spec: SourceSpec, region: str, version_id: str | None
) -> SourceError:
    """Returns the error for the user that an error of obstore means.

    Args:
        error: what obstore raised.
        what: the object that was asked for.
        spec: the source that was asked.
        region: the region that was asked.
        version_id: the version that was asked for.
    """
    if isinstance(error, PreconditionError):
        return ReplacedError(
            f"{what}: the object was replaced while it was read. Run the command again."
        )
    message = str(error)
    sent = re.search(r"after (\d+) retries", message)
    attempts = f" ({int(sent[1]) + 1} attempts)" if sent else ""
    if (status := re.search(r"non-2xx status code: (\d{3})", message)) is not None:
        code = re.search(r"<Code>([A-Za-z0-9.]{1,80})</Code>", message)
        answer = f"the server answered HTTP {status[1]}{f' {code[1]}' if code else ''}"
        if (int(status[1]) >= 500 and status[1] != "501") or status[1] in ("408", "429"):
            return TransientSourceError(f"{what}: {answer}{attempts}. Try again later.")
        text, hint = _refusal(int(status[1]), code[1] if code else "", spec, version_id)
        return SourceError(f"{what}: {text.format(region=region)} ({answer}). {hint}")
    server = urlsplit(spec.endpoint_url or f"https://s3.{region}.amazonaws.com").netloc
    for sign, (text, hint) in (_DEFINITE | _PASSING).items():
        if re.search(sign, message):
            told = text.format(
                server=server,
                region=region,
                connect=spec.connect_timeout_s,
                read=spec.read_timeout_s,
            )
            kind = SourceError if sign in _DEFINITE else TransientSourceError
            kind = ListingError if sign == "list response" else kind
            return kind(f"{what}: {told}{attempts}. {hint}")
    return TransientSourceError(
        f"{what}: the request to {server} failed ({type(error).__name__}). "
        "Check --source, --endpoint-url and the AWS settings, or try again later."
    )


def _refusal(status: int, code: str, spec: SourceSpec, version_id: str | None) -> tuple[str, str]:
    """Returns what a definite answer of the server means, and what the user can do."""
    if code == "NoSuchBucket":
        return "there is no such bucket", "Check --source and --endpoint-url."
    if code in _WRONG_REGION:
        return _OTHER_REGION
    if code in _BAD_CREDENTIALS:
        return (
            "the AWS credentials are not valid here",
            "Renew them, or leave out --no-anon and --profile.",
        )
    if status in (401, 403):
        how = "unsigned requests" if spec.anonymous else "these credentials"
        return (
            f"{how} may not read it, or it does not exist",
            "Buckets that are not public need credentials (--no-anon or --profile).",
        )
    if version_id is not None and status in (400, 404, 405, 501):
        return "the bucket has no such version of it, which the manifest pins", OTHER_COPY
    if status == 404:
        return "there is no such object", "Check the source."
    if status == 416:
        return "it is empty, or shorter than it was", "Check the source."
    return "the request was refused", "Check --source, --endpoint-url and --region."
