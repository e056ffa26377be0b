"""The Dagster run of an ingest that a command does, recorded where `vblake ui` shows it."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from assets.automation import range_tags
from assets.lake import catalog, nwb_tables, project_tables, register_mice
from assets.resources import SharedRun, ingest_options
from pipelines.cli.options import IngestOptions
from schemas import TABLES, Subject

_PROJECT = Path(__file__).resolve().parents[1]


def dagster_home() -> Path:
    """The folder of Dagster's settings: the clone vblake was installed from if it can be written, $DAGSTER_HOME, or one of the user's."""
    ours = _PROJECT / "dagster.yaml"
    if ours.is_file() and os.access(_PROJECT, os.W_OK):
        return _PROJECT
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named) if named else Path("~/.local/share/vblake").expanduser()
    home.mkdir(parents=True, exist_ok=True)
    if ours.is_file() and not (home / ours.name).exists():
        shutil.copyfile(ours, home / ours.name)
    return home


def _absolute(settings: Any, home: Path) -> Any:
    """Settings with relative `base_dir`s taken from the home folder; Dagster itself takes them from the working directory."""
    if not isinstance(settings, dict):
        return settings
    return {
        k: str(home / v) if k == "base_dir" and isinstance(v, str) else _absolute(v, home)
        for k, v in settings.items()
    }


def open_instance() -> dg.DagsterInstance:
    """The project's Dagster instance, for a run in this process, whatever the working directory is."""
    home = dagster_home()
    file = home / "dagster.yaml"
    overrides: dict[str, Any] = (
        _absolute(yaml.safe_load(file.read_text()), home) if file.is_file() else {}
    )
    # Dagster's capture of a step's output would turn stdout and stderr of the whole command away, to a file that `tail` prints. What is
    # said last, when the command is stopped, would not get there any more.
    overrides["compute_logs"] = {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=overrides))


def run_config(options: IngestOptions) -> dict[str, Any]:
    """The configuration of a run with these options, valid from any working directory."""
    return {
        "resources": {"options": {"config": asdict(options.from_any_folder())}},
        # The command has its own progress display; Dagster's events are in the UI.
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }


def record(shared: SharedRun, options: IngestOptions) -> bool:
    """Runs the job for an ingest that the command does itself meanwhile.

    Args:
        shared: how the run learns what the ingest did.
        options: of the command.

    Returns:
        Whether every partition of the run was good.
    """
    prepared = shared.prepared
    assert prepared is not None
    asked = {name for task in prepared.todo for name in task.tables}
    tables = [t.name for t in TABLES.values() if t.name in asked or t.subject is Subject.LEDGER]
    mice = prepared.mice
    with open_instance() as instance:
        register_mice(
            instance,
            set(prepared.project.tables["behavior_sessions"].column("mouse_id").to_pylist()),
        )
        result = dg.materialize(
            [project_tables, nwb_tables, catalog],
            selection=dg.AssetSelection.assets(*tables, "catalog"),
            instance=instance,
            resources={"options": ingest_options, "shared": shared.resource()},
            run_config=run_config(replace(options, mouse=mice)),
            tags=range_tags(instance, {str(m) for m in mice}),
            raise_on_error=False,
        )
    return result.success
