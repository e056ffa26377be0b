"""moto's S3 server: a server of others, whose ids, ETags and answers are its own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any
from urllib.request import Request, urlopen


@contextmanager
def moto() -> Generator[tuple[str, Any]]:
    """Runs the server on loopback, without buckets; yields its endpoint and a client that signs."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # All servers of a process share their buckets, so that those of an earlier test are still there.
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-west-2",
        aws_access_key_id="writer",
        aws_secret_access_key="secret",
    )
    try:
        with closing(client):
            yield endpoint, client
    finally:
        server.stop()
