"""What the conversion of one file leaves behind: staged Parquet files, and a note beside them that they are complete.

This is what the process that publishes knows of a conversion; it need not load what files are read with.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.store import clear
from pipelines.release.selection import FileTask
from pipelines.source.base import SourceSpec
from schemas import SCHEMA_VERSION
from schemas.known_defects import Occurrence

TEMPLATES = "stimulus_templates"
_RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """What a worker needs to know beside the file; goes to other processes.

    Attributes:
        source: where the bucket is.
        staging: folder for staged files.
        verify_hash: check files against the manifest's hash before they are read; those of a remote source are fetched whole for that.
        program: version of vblake; what another one has staged is not taken over.
    """

    source: SourceSpec
    staging: Path
    verify_hash: bool
    program: str = ""


@dataclass(frozen=True)
class FileResult:
    """What a worker has to say of one file.

    Attributes:
        task: the file.
        folder: where the staged tables lie, as `<table>.parquet`; tables without rows have no file.
        row_counts: rows of every table that was read.
        error: why the file could not be converted, None if it was.
        image_set: the file's image set and the digest of its templates.
        bytes_fetched: bytes moved from a remote source.
        seconds: time spent.
        warnings: what was unusual.
        known_defects: the known defects of the released data that the file shows.
    """

    task: FileTask
    folder: Path
    row_counts: dict[str, int] = field(default_factory=dict[str, int])
    error: str | None = None
    image_set: str | None = None
    image_signature: str | None = None
    bytes_fetched: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    known_defects: tuple[Occurrence, ...] = ()

    def staged(self, table: str) -> Path | None:
        """Staged file of a table, None if it has no rows."""
        return self.folder / f"{table}.parquet" if self.row_counts.get(table) else None


def _prefix(task: FileTask) -> str:
    return f"{task.kind.value}_{task.file_key}-"


def staging_folder(task: FileTask, settings: ConvertSettings) -> Path:
    """Folder for the staged tables of a file, new each time: what a killed run or a lost Dask worker still writes is kept apart."""
    return settings.staging / f"{_prefix(task)}{uuid.uuid4().hex[:12]}"


def check_staged(path: Path, rows: int) -> str | None:
    """What is wrong with a staged file, by its footer: it must be there, whole, and hold the rows written. None if it is good."""
    try:
        found = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        return f"cannot be opened ({str(error).splitlines()[0]})"
    return None if found == rows else f"holds {found} of {rows} rows"


def _fingerprint(task: FileTask, settings: ConvertSettings) -> str:
    return repr((SCHEMA_VERSION, settings.program, task))


def remember(result: FileResult, settings: ConvertSettings) -> None:
    """Notes beside the staged files that they are complete, so that an interrupted run need not convert the file again."""
    facts = {
        "fingerprint": _fingerprint(result.task, settings),
        "row_counts": result.row_counts,
        "image_set": result.image_set,
        "image_signature": result.image_signature,
        "bytes_fetched": result.bytes_fetched,
        "warnings": result.warnings,
        "known_defects": [asdict(d) for d in result.known_defects],
    }
    temporary = result.folder / f"{_RESULT}.part"
    temporary.write_text(json.dumps(facts))
    temporary.replace(result.folder / _RESULT)


def finished_before(task: FileTask, settings: ConvertSettings) -> FileResult | None:
    """The result of an earlier, interrupted run for exactly this task, if it got so far. What else is left of such runs is removed."""
    found: FileResult | None = None
    for folder in settings.staging.glob(f"{_prefix(task)}*"):
        result = _remembered(task, folder, settings)
        if result is None or found:
            clear(folder)
        else:
            found = result
    return found


def left_unpublished(task: FileTask, settings: ConvertSettings, since: datetime) -> bool:
    """Whether an interrupted run has converted the file since it was published, so that its tables may be of two versions."""
    found = (
        f for f in settings.staging.glob(f"{_prefix(task)}*") if _remembered(task, f, settings)
    )
    return any(
        (folder / _RESULT).stat().st_mtime > since.replace(tzinfo=UTC).timestamp()
        for folder in found
    )


def _remembered(task: FileTask, folder: Path, settings: ConvertSettings) -> FileResult | None:
    try:
        facts = json.loads((folder / _RESULT).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if facts.pop("fingerprint", None) != _fingerprint(task, settings):
        return None
    facts["warnings"] = tuple(facts["warnings"])
    facts["known_defects"] = tuple(Occurrence(**d) for d in facts["known_defects"])
    result = FileResult(task, folder, **facts)
    # A power cut may have kept the note and lost the data, and a run that was killed may have begun to clear the folder.
    staged = [
        (path, rows) for name, rows in result.row_counts.items() if (path := result.staged(name))
    ]
    return None if any(check_staged(path, rows) for path, rows in staged) else result
