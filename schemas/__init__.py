"""The lake's contract as data: every table is declared once.

`TABLES` maps names to declarations in the order of publication: tables that others refer to come
first. `schemas.arrow` turns declarations into Arrow schemas, `schemas.dictionary` into the data
dictionary. No I/O here.
"""

from __future__ import annotations

from schemas.model import Column, Encoding, ForeignKey, Storage, Subject, Table, Type
from schemas.tables.annotations import PRESENTATION_ANNOTATIONS, PRESENTATION_FRAMES
from schemas.tables.behavior import BEHAVIOR_SERIES_TABLES
from schemas.tables.ledger import SOURCE_FILES
from schemas.tables.metadata import METADATA_TABLES
from schemas.tables.ophys import OPHYS_TABLES
from schemas.tables.project import PROJECT_TABLES
from schemas.tables.responses import RESPONSE_TABLES
from schemas.tables.task import PERFORMANCE_METRICS, TASK_TABLES

SCHEMA_VERSION = "3"
"""Raised when files written before no longer have the declared schema; stored in every file.

An ingest upgrades a lake of an earlier version; one of a later version is refused.
"""

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *PROJECT_TABLES,
        *METADATA_TABLES,
        *TASK_TABLES,
        *BEHAVIOR_SERIES_TABLES,
        PERFORMANCE_METRICS,
        PRESENTATION_ANNOTATIONS,
        *OPHYS_TABLES,
        PRESENTATION_FRAMES,
        *RESPONSE_TABLES,
        SOURCE_FILES,
    )
}


def session_parents(table: Table) -> tuple[str, ...]:
    """The tables on which one of a plane depends and which another file of its session may give.

    >>> session_parents(TABLES["presentation_frames"])
    ('stimulus_presentations',)
    """
    if table.subject is not Subject.OPHYS:
        return ()
    return tuple(n for n in table.depends_on if TABLES[n].subject is Subject.BEHAVIOR)


__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "Column",
    "Encoding",
    "ForeignKey",
    "Storage",
    "Subject",
    "Table",
    "Type",
    "session_parents",
]
