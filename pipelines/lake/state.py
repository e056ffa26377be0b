"""The folder for what belongs to a lake and is not part of its data: records, locks, logs."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from pipelines.lake.store import LocalStore, Store


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
