"""The folder in which Dagster keeps its settings and the record of all runs."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1]
_SETTINGS = "dagster.yaml"


def dagster_home() -> Path:
    """Makes Dagster's folder, puts the project's settings into it, and names it to Dagster.

    It is $DAGSTER_HOME if that is set; else `.dagster` in the clone that vblake was installed
    from; else, if that cannot be written, a folder of the user's. Settings that are already in
    $DAGSTER_HOME are left alone.
    """
    named = os.environ.get("DAGSTER_HOME")
    if named:
        home = Path(named).absolute()
    elif (_PROJECT / _SETTINGS).is_file() and os.access(_PROJECT, os.W_OK):
        home = _PROJECT / ".dagster"
    else:
        home = Path("~/.local/share/vblake").expanduser()
    home.mkdir(parents=True, exist_ok=True)
    ours, settings = _PROJECT / _SETTINGS, home / _SETTINGS
    if ours.is_file() and not (settings.is_file() and (named or filecmp.cmp(ours, settings))):
        shutil.copyfile(ours, settings)
    os.environ["DAGSTER_HOME"] = str(home)
    return home
