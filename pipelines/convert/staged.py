"""What the conversion of a file leaves: staged Parquet files, and a note that they are complete.

This is all that the process that publishes knows of a conversion; it does not import the readers.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.ledger import TableOutcome, TableStatus
from pipelines.lake.store import clear
from pipelines.release.selection import FileTask
from pipelines.source.base import SourceSpec
from schemas import SCHEMA_VERSION
from schemas.checks import Rule
from schemas.known_defects import Occurrence

TEMPLATES = "stimulus_templates"
_RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class ConvertSettings:
    """What a worker needs to know besides the file. It is sent to other processes.

    Attributes:
        source: where the bucket is.
        staging: folder for staged files.
        verify_hash: whether to check files against the manifest's hash before they are read; those
            of a remote source are fetched whole for that.
        program: version of vblake; what another version has staged is not used.
        images: digests of the images that the lake has.
    """

    source: SourceSpec
    staging: Path
    verify_hash: bool
    program: str = ""
    images: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FileResult:
    """The outcome of the conversion of one file.

    Attributes:
        task: the file.
        folder: where the staged tables are, as `<table>.parquet`; a table without rows has no file.
        tables: the outcome of every table of the task.
        error: why the file could not be converted; None if it was.
        rule: the rule that the file breaks in that case.
        passing: whether the same file may be converted later without any change, as when the source
            did not answer.
        image_set: name of the file's image set.
        images: digests of the images it shows, by name. Those that the lake lacks are staged.
        bytes_fetched: bytes moved from a remote source.
        seconds: time spent.
        warnings: what was unusual.
        known_defects: the known defects of the released data that the file shows.
    """

    task: FileTask
    folder: Path
    tables: tuple[TableOutcome, ...] = ()
    error: str | None = None
    rule: Rule = Rule.FILE_READABLE
    passing: bool = False
    image_set: str | None = None
    images: dict[str, str] = field(default_factory=dict[str, str])
    bytes_fetched: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    known_defects: tuple[Occurrence, ...] = ()

    @property
    def row_counts(self) -> dict[str, int]:
        """Rows of each table; 0 for those that are held back or absent."""
        return {t.table: t.rows for t in self.tables}

    @property
    def held_back(self) -> list[TableOutcome]:
        """The tables that are held back."""
        return [t for t in self.tables if t.status is TableStatus.HELD_BACK]

    def with_outcomes(self, *outcomes: TableOutcome) -> FileResult:
        """The same result with other outcomes for some tables."""
        tables = {t.table: t for t in (*self.tables, *outcomes)}
        return replace(self, tables=tuple(tables.values()))

    def staged(self, table: str) -> Path | None:
        """Returns the staged file of a table, None if it has no rows.

        Images are elsewhere: `staged_images`.
        """
        has_file = table != TEMPLATES and self.row_counts.get(table)
        return self.folder / f"{table}.parquet" if has_file else None


def staged_images(staging: Path, images: Mapping[str, str]) -> Path:
    """Returns the staged file of some images, shared by all files of a run that show just these.

    Args:
        staging: folder for staged files.
        images: digests by name.
    """
    name = hashlib.blake2b("".join(sorted(images.values())).encode(), digest_size=16).hexdigest()
    return staging / "images" / f"{name}.parquet"


def _prefix(task: FileTask) -> str:
    return f"{task.kind.value}_{task.file_key}-"


def staging_folder(task: FileTask, settings: ConvertSettings) -> Path:
    """Returns a folder for the staged tables of a file.

    It is a new one each time, apart from whatever a killed run or a lost Dask worker still writes.
    """
    return settings.staging / f"{_prefix(task)}{uuid.uuid4().hex[:12]}"


def check_staged(path: Path, rows: int) -> str | None:
    """Returns what is wrong with a staged file according to its footer; None if it is good.

    Args:
        path: the file.
        rows: number of rows that were written to it.
    """
    try:
        found = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        return f"cannot be opened ({str(error).splitlines()[0]})"
    return None if found == rows else f"holds {found} of {rows} rows"


def _fingerprint(task: FileTask, settings: ConvertSettings) -> str:
    return repr((SCHEMA_VERSION, settings.program, task))


def remember(result: FileResult, settings: ConvertSettings) -> None:
    """Notes beside the staged files that they are complete, for the run after an interruption."""
    facts = {
        "fingerprint": _fingerprint(result.task, settings),
        "tables": [t._asdict() for t in result.tables],
        "image_set": result.image_set,
        "images": result.images,
        "bytes_fetched": result.bytes_fetched,
        "warnings": result.warnings,
        "known_defects": [asdict(d) for d in result.known_defects],
    }
    temporary = result.folder / f"{_RESULT}.part"
    temporary.write_text(json.dumps(facts))
    temporary.replace(result.folder / _RESULT)


def finished_before(task: FileTask, settings: ConvertSettings) -> FileResult | None:
    """Returns the result of an earlier, interrupted run for exactly this task, if it finished it.

    Whatever else such runs have left of the file is removed.
    """
    found: FileResult | None = None
    for folder in settings.staging.glob(f"{_prefix(task)}*"):
        result = _remembered(task, folder, settings)
        if result is None or found:
            clear(folder)
        else:
            found = result
    return found


def left_unpublished(task: FileTask, settings: ConvertSettings, since: datetime) -> bool:
    """Returns whether an interrupted run has converted a file again after it was published.

    The file's tables in the lake may then be of two versions.

    Args:
        task: the file.
        settings: those of this run.
        since: when the file was published, UTC without a time zone.
    """
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
    facts["tables"] = tuple(TableOutcome.from_dict(t) for t in facts["tables"])
    facts["warnings"] = tuple(facts["warnings"])
    facts["known_defects"] = tuple(Occurrence(**d) for d in facts["known_defects"])
    result = FileResult(task, folder, **facts)
    # A power cut may have kept the note and lost the data, and a run that was killed may already
    # have started to clear the folder.
    staged = [
        (path, rows) for name, rows in result.row_counts.items() if (path := result.staged(name))
    ]
    if not settings.images.issuperset(result.images.values()):
        staged.append((staged_images(settings.staging, result.images), len(result.images)))
    return None if any(check_staged(path, rows) for path, rows in staged) else result
