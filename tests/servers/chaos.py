"""Faults by seed: the seed and the request decide whether and how a request fails, not the order
of requests.
"""

from __future__ import annotations

import random
import threading
from collections import Counter

from servers.objects import Fault, RequestInfo

STALL_S = 1.2
"""Longer than the time-out that the tests give."""

ANY = {
    "500": Fault(status=500),
    "503 SlowDown": Fault(status=503, code="SlowDown"),
    "429": Fault(status=429, code="TooManyRequests"),
    "reset before the answer": Fault(reset="before"),
    "stall": Fault(stall_s=STALL_S),
}
"""What can happen to any request and passes."""

BODY = {
    "reset in the body": Fault(reset="middle"),
    "short body": Fault(missing=7),
}

LISTING = {
    "garbage": Fault(listing=lambda _: b"<<garbage>>\x00\xff"),
    "nothing": Fault(listing=lambda _: b""),
    "cut XML": Fault(listing=lambda xml: xml[: len(xml) * 2 // 3]),
}

DEFINITE = {
    "403": Fault(status=403, code="AccessDenied"),
    "404": Fault(status=404, code="NoSuchKey"),
    "another version": Fault(replaced=True, matches=False),
    "another object under the same version": Fault(replaced=True, lie=True),
    "whole object": Fault(whole=True),
    "short body that says so": Fault(missing=7, declared=False),
}
"""Wrong answers, which a client must not take; servers of networks that fail do not give them."""


def kinds(request: RequestInfo) -> dict[str, Fault]:
    """Returns the faults that can happen to a request and pass."""
    if request.kind == "list":
        return ANY | BODY | LISTING
    return ANY if request.kind == "head" else ANY | BODY


class Chaos:
    """Makes a share of all requests fail; a repeated request is drawn again.

    Args:
        seed: decides which requests fail, and how.
        rate: the share.

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
