"""The folder in which Dagster keeps its settings and the record of a lake's runs."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from pipelines.lake.state import state_folder
from pipelines.lake.store import open_store
from schemas.errors import LakeError
from schemas.layout import DAGSTER

LOCATION = "assets.definitions"
"""Module of the definitions, which is also the name of their code location in `vblake ui`."""

RUNNING = "running"
"""Folder in Dagster's, with a file for each run that goes on; its process holds the file's lock."""

_SETTINGS = Path(__file__).with_name("dagster.yaml")
"""A link to the file at the root of the project; in an installed package, a copy of it."""


def dagster_home(lake: str) -> Path:
    """Makes Dagster's folder of a lake, puts our settings into it, and names it to Dagster.

    It is $DAGSTER_HOME if that is set, else `_dagster` in the lake's own folder
    (`pipelines.lake.state`). Settings that are already in $DAGSTER_HOME are left alone.

    Raises:
        LakeError: the folder cannot be made.
    """
    named, home = os.environ.get("DAGSTER_HOME"), _home(lake)
    settings = home / _SETTINGS.name
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (settings.is_file() and (named or filecmp.cmp(_SETTINGS, settings))):
            shutil.copyfile(_SETTINGS, settings)
    except OSError as error:
        raise LakeError(
            f"Dagster cannot keep its record in {home}: {error.strerror}. "
            "Set DAGSTER_HOME to a folder that you may write to."
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    # Also for the processes that Dagster starts, and before it has read its settings.
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    return home


def _home(lake: str) -> Path:
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).absolute() if named else state_folder(open_store(lake)) / DAGSTER


def has_unfinished_runs(lake: str) -> bool:
    """Whether a run goes on, or was killed. Answers without loading Dagster."""
    folder = _home(lake) / RUNNING
    return folder.is_dir() and any(folder.iterdir())
