"""Faults by seed: which request goes wrong, and how, is decided by the seed and the request alone, whatever the order of requests."""

from __future__ import annotations

import random
import threading
from collections import Counter

from servers.objects import Fault, RequestInfo

STALL_S = 1.2
"""Longer than the time-out that the tests give."""

REFUSED = {
    "500": Fault(status=500),
    "503 SlowDown": Fault(status=503, code="SlowDown"),
    "403": Fault(status=403, code="AccessDenied"),
    "404": Fault(status=404, code="NoSuchKey"),
    "reset before the answer": Fault(reset="before"),
    "stall": Fault(stall_s=STALL_S),
}
"""What may befall any request."""

BODY = {
    "reset in the body": Fault(reset="middle"),
    "short body": Fault(missing=7),
    "short body that says so": Fault(missing=7, declared=False),
}

OBJECT = {
    "another version": Fault(replaced=True),
    "another object under the same version": Fault(replaced=True, lie=True),
}

RANGE = {
    "whole object": Fault(whole=True),
    "wrong Content-Range": Fault(content_range="bytes 1-2/3"),
    "Content-Range of a shorter object": Fault(content_range="bytes 0-99/100"),
}

LISTING = {
    "garbage": Fault(listing=lambda _: b"<<garbage>>\x00\xff"),
    "another document": Fault(
        listing=lambda _: b"<html><body>Welcome to the hotel's network</body></html>"
    ),
    "nothing": Fault(listing=lambda _: b""),
    "cut XML": Fault(listing=lambda xml: xml[: len(xml) * 2 // 3]),
    "an entry lost": Fault(
        listing=lambda xml: xml.replace(b"<Contents>", b"<Lost>", 1).replace(
            b"</Contents>", b"</Lost>", 1
        )
    ),
    "sizes that are none": Fault(listing=lambda xml: xml.replace(b"<Size>", b"<Size>x")),
    "cut off": Fault(listing=lambda xml: xml.replace(b"<IsTruncated>false", b"<IsTruncated>true")),
}


def kinds(request: RequestInfo) -> dict[str, Fault]:
    """The faults that make sense for a request."""
    if request.kind == "list":
        return REFUSED | BODY | LISTING
    if request.kind == "head":
        # Of what is not pinned, another object would be as good.
        return (
            REFUSED
            | (OBJECT if request.version_id else {})
            | {"wrong length": Fault(missing=7, declared=False)}
        )
    return REFUSED | BODY | OBJECT | (RANGE if request.kind == "range" else {})


class Chaos:
    """Some of all requests go wrong, each time they are made anew.

    Args:
        seed: which, and how.
        rate: how many of all.

    Attributes:
        struck: faults so far, by kind.
    """

    def __init__(self, seed: int, rate: float = 0.1) -> None:
        self.seed, self.rate = seed, rate
        self.struck = Counter[str]()
        self._lock = threading.Lock()

    def __call__(self, request: RequestInfo, before: int) -> Fault | None:
        """See `servers.objects.Faults`."""
        rng = random.Random(
            f"{self.seed} {request.method} {request.key} {request.version_id} {request.range} {before}"
        )
        if rng.random() >= self.rate:
            return None
        name, fault = rng.choice(list(kinds(request).items()))
        with self._lock:
            self.struck[name] += 1
        return fault
