"""Serves the page, and decides who may open it."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, redirect, request
from waitress.server import create_server

from vblake.explore.app import build
from vblake.explore.source import Source
from vblake.lake import Lake

_COOKIE = "vblake-token"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(server: Flask, host: str, token: str | None) -> None:
    """Lets requests in: on loopback those addressed to this machine, else those with the token.

    The name in the address is checked because a page elsewhere could otherwise have its own name
    resolved to 127.0.0.1, and read the lake through the visitor's browser.

    Args:
        server: what answers.
        host: address that it listens on.
        token: what the first address has to carry, as `?token=...`; afterwards a cookie does.
    """

    @server.before_request
    def check() -> Any:
        if token is None:
            name = request.host.rpartition(":")[0] if ":" in request.host else request.host
            if is_loopback(name.strip("[]")) or name == host:
                return None
            return _refused(f"This page is for this machine only, and not known as {name}.")
        given = request.args.get("token")
        if given is not None and secrets.compare_digest(given.encode(), token.encode()):
            rest = [(k, v) for k, v in request.args.items(multi=True) if k != "token"]
            answer = redirect(_address(request.path, rest))
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="Strict")
            return answer
        kept = request.cookies.get(_COOKIE, "")
        if secrets.compare_digest(kept.encode(), token.encode()):
            return None
        return _refused(
            "This page needs its token. Open the address that `vblake explore` has printed."
        )

    del check

    @server.after_request
    def harden(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        return response

    del harden


def _address(path: str, arguments: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(arguments)}" if arguments else path


def _refused(why: str) -> Response:
    return Response(f"{why}\n", 403, content_type="text/plain; charset=utf-8")


def serve(
    lake: Lake,
    host: str = "127.0.0.1",
    port: int = 8050,
    token: str | None = None,
    on_start: Callable[[str], None] = print,
) -> None:
    """Serves the page until it is interrupted.

    Args:
        lake: an open lake.
        host: address to listen on. One that other machines reach needs a token.
        port: port to listen on; 0 for any free one.
        token: what the address has to carry; by default a new one if others reach the address.
        on_start: called with the address of the page once it can be opened.

    Raises:
        OSError: the address is in use, or is not one of this machine.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    app = build(Source(lake))
    guard(app.server, host, token)
    listening: Any = create_server(app.server, host=host, port=port, threads=8, ident=None)
    name = f"[{host}]" if ":" in host else host
    query = "" if token is None else f"?token={token}"
    on_start(f"http://{name}:{listening.effective_port}/{query}")
    try:
        listening.run()
    finally:
        listening.close()
