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
from schemas.tables.task import TASK_TABLES

SCHEMA_VERSION = "3"
"""Raised when files written before no longer have the declared schema; stored in every file.

A lake of another version is refused.
"""

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        *PROJECT_TABLES,
        *METADATA_TABLES,
        *TASK_TABLES,
        *BEHAVIOR_SERIES_TABLES,
        PRESENTATION_ANNOTATIONS,
        *OPHYS_TABLES,
        PRESENTATION_FRAMES,
        *RESPONSE_TABLES,
        SOURCE_FILES,
    )
}

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
]
