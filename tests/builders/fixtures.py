"""Types of the fixtures in tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.ingest import MouseReport

Ingest = Callable[..., list[MouseReport]]
"""`run_ingest`."""
Figure = Callable[[str], None]
"""`figure`."""
