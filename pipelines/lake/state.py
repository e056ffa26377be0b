"""The folder for what belongs to a lake and is not part of its data: records, locks, logs.

And one of these records: how fast the last ingest was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipelines.lake.store import LocalStore, Store

_LAST_RUN = "_last_run.json"
FEWEST_FILES = 3
"""A run that converted fewer says nothing of how fast others will be."""


@dataclass(frozen=True)
class LastRun:
    """How fast the last ingest of all default tables was.

    Attributes:
        date: when it ended, YYYY-MM-DD, UTC.
        files: how many it converted.
        bytes: their size in the release.
        seconds: from the first to the last of them, publishing included.
        workers: processes that converted them.
    """

    date: str
    files: int
    bytes: int
    seconds: float
    workers: int

    @property
    def rate(self) -> float:
        """Bytes per second.

        >>> LastRun("2026-11-28", 10, 5_000_000, 2.0, 4).rate
        2500000.0
        """
        return self.bytes / self.seconds

    def note(self, store: Store) -> None:
        """Keeps it for the lake, if it converted enough files."""
        if self.files < FEWEST_FILES or self.bytes <= 0 or self.seconds <= 0:
            return
        folder = state_folder(store)
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f"{_LAST_RUN}.new"
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        new.replace(folder / _LAST_RUN)

    @classmethod
    def of(cls, store: Store) -> Self | None:
        """The last run of a lake; None if there was none, or its record is damaged."""
        try:
            return cls(**json.loads((state_folder(store) / _LAST_RUN).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def state_folder(store: Store) -> Path:
    """Returns the folder; it need not exist yet.

    It is the lake's own folder if the lake is local. For a lake in a bucket it is a folder with the
    bucket's name in VBLAKE_STATE, by default `~/.local/state/vblake` (XDG_STATE_HOME is honoured).
    """
    if isinstance(store, LocalStore):
        return store.folder
    base = os.environ.get("VBLAKE_STATE")
    if not base:
        home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        base = f"{home}/vblake"
    readable = re.sub(r"[^\w.-]+", "-", store.root.removeprefix("s3://"))[-60:]
    digest = hashlib.blake2b(store.root.encode(), digest_size=4).hexdigest()
    return Path(base).expanduser().absolute() / f"{readable}-{digest}"
