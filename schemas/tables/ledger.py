"""The ledger: which object of which release each row came from."""

from __future__ import annotations

from schemas.model import Storage, Subject, Table, Type, column
from schemas.tables.keys import MOUSE_ID

SOURCE_FILES = Table(
    name="source_files",
    description="Every NWB file that an ingest tried, with its version and the outcome for each "
    "of its tables.",
    subject=Subject.LEDGER,
    storage=Storage.MOUSE,
    columns=(
        MOUSE_ID,
        column("release", Type.STRING, "Release of the dataset.", required=True),
        column(
            "file_kind",
            Type.STRING,
            "Kind of file: behavior_session or ophys_experiment.",
            required=True,
        ),
        column(
            "file_key",
            Type.INT64,
            "Id in the file's name: behavior_session_id or ophys_experiment_id, by file_kind.",
            required=True,
        ),
        column("behavior_session_id", Type.INT64, "Behaviour session in the file.", required=True),
        column(
            "ophys_session_id", Type.INT64, "Imaging session in the file; NULL for behaviour files."
        ),
        column(
            "ophys_experiment_id", Type.INT64, "Experiment in the file; NULL for behaviour files."
        ),
        column(
            "gives_behavior",
            Type.BOOL,
            "Whether the session's behaviour tables are read from this file.",
            required=True,
        ),
        column(
            "object_key", Type.STRING, "Key of the object in the bucket; NULL for skipped files."
        ),
        column("version_id", Type.STRING, "Version of the object that the manifest pins."),
        column("file_hash", Type.STRING, "BLAKE2b-512 hash of the file, from the manifest."),
        column("bytes", Type.INT64, "Size of the object.", "byte"),
        column(
            "bytes_fetched",
            Type.INT64,
            "Bytes that were fetched to read the object.",
            "byte",
            required=True,
        ),
        column(
            "status",
            Type.STRING,
            "Outcome: ingested, partial (some tables are held back), quarantined or skipped.",
            required=True,
        ),
        column(
            "error",
            Type.STRING,
            "Why the file is quarantined: file, table, column, expected, found and what to do.",
        ),
        column(
            "warnings",
            Type.LIST_STRING,
            "What was unusual in the file but did not stop the ingest.",
            required=True,
        ),
        column(
            "known_defects",
            Type.KNOWN_DEFECTS,
            "Known defects of the released data that the file shows: its name, table and details.",
            required=True,
        ),
        column(
            "tables",
            Type.TABLE_OUTCOMES,
            "Outcome of each table: ingested, held_back (it breaks a rule), absent, not_requested.",
            required=True,
        ),
        column("image_set", Type.STRING, "Image set whose templates the file holds."),
        column(
            "images",
            Type.LIST_STRING,
            "Names of the images whose templates the file holds.",
            required=True,
        ),
        column("schema_version", Type.STRING, "Version of the lake's schema.", required=True),
        column("program_version", Type.STRING, "Version of vblake.", required=True),
        column("ingested_at", Type.TIMESTAMP, "When the row was written.", "UTC", required=True),
    ),
    primary_key=("release", "file_kind", "file_key"),
    order=("release", "file_kind", "file_key"),
    rows_expected=False,
)
