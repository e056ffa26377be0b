"""Makes a lake of the dataset's full size out of a lake of one mouse of real scale.

    python -m benchmarks.full_size --template LAKE --lake DIR

4,782 sessions of 107 mice, of which 704 were imaged, with 1,946 planes. Each session and plane
repeats one of the template's under ids of its own: the project's writer writes the tables of a
project or mouse, and the files of a session or plane are hard links to the template's, so that
hundreds of gigabytes take no space. Takes a few minutes and 2 GB.

With `--bucket`, the files of a session or plane are written, too, so that `vblake verify` finds
nothing wrong, and a bucket is made whose release the lake has ingested (its NWB files are empty).
The template should then be of small files. Takes six minutes and 2 GB.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.catalog.build import build_catalog
from pipelines.lake.marker import Marker, create_lake
from pipelines.lake.store import LocalStore
from pipelines.lake.writer import write_table
from pipelines.release.manifest import Release, load_release
from pipelines.release.project_tables import MANIFEST_NAMES
from pipelines.sample.manifest import PROJECT, write_manifest
from pipelines.source.base import SourceSpec
from pipelines.source.folder import FolderSource
from schemas import TABLES, Table
from schemas.arrow import file_schema
from schemas.layout import MARKER, relative_path
from schemas.model import Storage

RELEASE = "1.1.0"
MICE, SESSIONS, IMAGED = 107, 4782, 704

_LINES = ("Slc17a7-IRES2-Cre", "Sst-IRES-Cre", "Vip-IRES-Cre")
_LEVELS = ("Familiar", "Familiar", "Familiar", "Novel 1", "Novel >1", "Novel >1", "Novel >1")
_BY_FILE = {"mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id"}

Ids = dict[str, int | None]


@dataclass(frozen=True)
class Copy:
    """A session or plane of the lake, and that of the template whose rows it has.

    Attributes:
        ids: its ids; those of a session without imaging are None.
        of: the template's.
        more: further values of its row in the project tables.
    """

    ids: Ids
    of: Ids
    more: dict[str, Any]

    def values(self, name: str) -> int | None:
        """The value of an id, or of another column that identifies it."""
        if name == "file_key":
            return self.ids["ophys_experiment_id"] or self.ids["behavior_session_id"]
        return self.ids[name]


def _file_of(lake: Path, table: Table, ids: Ids) -> Path:
    """The file of a table that has the rows of a session or plane."""
    return lake / relative_path(table, **{name: ids[name] for name in _BY_FILE})


def _template_ids(template: Path) -> tuple[Ids, list[Ids]]:
    """A session without imaging, and the planes of the template, the largest first."""
    ledger = pq.read_table(next(template.glob("source_files/*/*.parquet"))).to_pylist()
    (mouse,) = [int(p.name.split("=")[1]) for p in template.glob("source_files/*")]
    names = _BY_FILE - {"mouse_id"} | {"gives_behavior"}
    rows: list[Ids] = [{"mouse_id": mouse} | {k: row[k] for k in names} for row in ledger]
    planes = sorted(
        (row for row in rows if row["ophys_experiment_id"] and row["gives_behavior"]),
        key=lambda r: _file_of(template, TABLES["dff_traces"], r).stat().st_size,
    )
    return next(r for r in rows if not r["ophys_experiment_id"]), planes[::-1]


def _planes(mouse: int, imaged: int) -> int:
    """Planes of an imaged session: three mice of eight have five or six, the others one."""
    return 5 + imaged % 2 if mouse % 8 < 3 else 1


def copies_of(template: Path, mouse: int, mice: int, sessions: int) -> Iterator[list[Copy]]:
    """The sessions of a mouse by time, each as its planes, or itself if it was not imaged."""
    alone, planes = _template_ids(template)
    of_mouse = len(range(mouse, sessions, mice))
    imaged = len(range(mouse, IMAGED * sessions // SESSIONS, mice))
    for number in range(of_mouse):
        session = 775_000_000 + 9_973 * (mouse + mice * number)
        ids: Ids = {"mouse_id": 400_000 + mouse, "behavior_session_id": session}
        ids |= {"ophys_session_id": None, "ophys_experiment_id": None}
        more: dict[str, Any] = {
            "cre_line": _LINES[mouse % 3],
            "date_of_acquisition": datetime(2019, 1, 1, 10, mouse % 60, tzinfo=UTC)
            + timedelta(days=number),
        }
        index = number - (of_mouse - imaged)
        if index < 0:
            yield [Copy(ids, alone, more | {"experience_level": "Training"})]
            continue
        more["experience_level"] = _LEVELS[index % len(_LEVELS)]
        count = _planes(mouse, index)
        of = planes[0 if count == 1 else -1]
        yield [
            Copy(
                ids
                | {"ophys_session_id": session + 1, "ophys_experiment_id": session + 10 + plane},
                of,
                more | {"ophys_container_id": 10 * mouse + plane},
            )
            for plane in range(count)
        ]


def _renamed(rows: pa.Table, copy: Copy, facts: Mapping[str, Any], *, cells: bool) -> pa.Table:
    """Rows of the template with the ids of the copy.

    Args:
        rows: of the template.
        copy: whose rows they become.
        facts: values of further columns.
        cells: whether ROIs get ids of their own. Linked files have the template's.
    """
    for name in rows.column_names:
        values: Any = None
        if name in _BY_FILE or name == "file_key":
            values = pa.repeat(pa.scalar(copy.values(name), pa.int64()), rows.num_rows)
        elif name in facts:
            values = pa.repeat(pa.scalar(facts[name]), rows.num_rows)
        elif name == "cell_roi_id" and cells:
            values = pc.add(rows[name], (copy.ids["ophys_experiment_id"] or 0) << 31)
        elif name == "cell_specimen_id":  # the cells of a container are the same
            values = pc.add(rows[name], 100_000 * copy.more["ophys_container_id"])
        if values is not None:
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


class _Maker:
    """Writes the tables of a lake, table by table, from those of the template."""

    def __init__(self, template: Path, store: LocalStore, *, own_files: bool) -> None:
        self._template, self._store, self._own_files = template, store, own_files
        self.objects: dict[int | None, dict[str, Any]] = {}
        self._read: dict[tuple[str, int | None, int | None], pa.Table | None] = {}

    def rows(self, table: Table, of: Ids, by_plane: bool) -> pa.Table | None:
        """The template's rows of a session or plane; None if it has none."""
        mouse = of["mouse_id"]
        key = "ophys_experiment_id" if by_plane else "behavior_session_id"
        known = (table.name, of["behavior_session_id"], of["ophys_experiment_id"])
        if known not in self._read:
            file = self._template / relative_path(table, mouse_id=mouse)
            found = pq.read_table(file, partitioning=None, filters=[(key, "=", of[key])])
            if table.name == "stimulus_presentations" and of["ophys_session_id"] is None:
                found = found.filter(pc.is_null(found["movie_frame_index"]))  # as in the release
            self._read[known] = found if found.num_rows else None
        return self._read[known]

    def write_mouse(self, table: Table, sessions: Sequence[list[Copy]]) -> int:
        """Writes a mouse's file; returns the number of rows."""
        by_plane = any(c.name == "ophys_experiment_id" for c in table)
        parts: list[pa.Table] = []
        for planes in sessions:
            for copy in planes if by_plane else planes[:1]:
                plane = by_plane and copy.of["ophys_experiment_id"] is not None
                rows = self.rows(table, copy.of, plane) if plane == by_plane else None
                if table.name == "source_files":
                    rows = self.rows(table, copy.of, plane)
                if rows is not None:
                    parts.append(self._renamed(table, rows, copy, gives=copy is planes[0]))
        if not parts:
            return 0
        return self._write(table, parts, sessions[0][0].ids["mouse_id"])

    def _renamed(self, table: Table, rows: pa.Table, copy: Copy, *, gives: bool) -> pa.Table:
        facts: dict[str, Any] = {}
        if table.name == "source_files":
            facts = {"gives_behavior": gives, **self.objects.get(copy.values("file_key"), {})}
        return _renamed(rows, copy, facts, cells=self._own_files)

    def _write(self, table: Table, parts: list[pa.Table], mouse: int | None = None) -> int:
        path = self._store.folder / relative_path(table, mouse_id=mouse)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_table(table, path, [pa.concat_tables(parts)], release=RELEASE)

    def add_file(self, table: Table, copy: Copy) -> None:
        """Links the file of a session or plane to the template's, or writes it with its own ids."""
        file = _file_of(self._template, table, copy.of)
        if not file.exists():
            return
        path = self._store.folder / relative_path(table, **copy.ids)
        path.parent.mkdir(parents=True)
        if not self._own_files:
            os.link(file, path)
            return
        known = (table.name, copy.of["behavior_session_id"], copy.of["ophys_experiment_id"])
        rows = self._read.get(known)
        if rows is None:
            rows = pq.ParquetFile(file).read()
            for name in table.storage.partitions:
                rows = rows.append_column(name, pa.repeat(copy.of[name], rows.num_rows))
            self._read[known] = rows
        write_table(table, path, [self._renamed(table, rows, copy, gives=True)], release=RELEASE)

    def write_cells(self, sessions: Sequence[list[Copy]]) -> int:
        """Writes the table of all cells."""
        table, parts = TABLES["ophys_cells"], list[pa.Table]()
        for copy in (c for s in sessions for c in s if c.of["ophys_experiment_id"]):
            known = (table.name, None, copy.of["ophys_experiment_id"])
            if known not in self._read:
                wanted = [("ophys_experiment_id", "=", copy.of["ophys_experiment_id"])]
                file = self._template / relative_path(table)
                self._read[known] = pq.read_table(file, filters=wanted)
            rows = self._read[known]
            assert rows is not None
            parts.append(self._renamed(table, rows, copy, gives=True))
        parts.sort(key=lambda rows: rows["ophys_experiment_id"][0].as_py())
        return self._write(table, parts)

    def write_project(self, table: Table, sessions: Sequence[list[Copy]]) -> int:
        """Writes a project table."""
        rows = pq.read_table(self._template / relative_path(table)).to_pylist()
        names = [c.name for c in table]
        if table.name == "ophys_experiments":
            copies, key = [c for s in sessions for c in s], "ophys_experiment_id"
        else:
            copies, key = [s[0] for s in sessions], "behavior_session_id"
        if table.name != "behavior_sessions":
            copies = [c for c in copies if c.ids["ophys_experiment_id"]]
        planes = {
            s[0].ids["behavior_session_id"]: [c.ids["ophys_experiment_id"] for c in s]
            for s in sessions
        }
        by_key = {row[key]: row for row in rows}
        made: list[dict[str, Any]] = []
        for copy in copies:
            row = by_key[copy.of[key]] | {k: v for k, v in copy.ids.items() if k in names}
            row |= {k: v for k, v in copy.more.items() if k in names}
            if row.get("file_id") is not None:
                row["file_id"] = copy.values("file_key")
            if table.name != "ophys_experiments":  # lists, NULL without imaging
                imaged = copy.ids["ophys_experiment_id"] is not None
                row["ophys_experiment_id"] = planes[row["behavior_session_id"]] if imaged else None
                row["ophys_container_id"] = [copy.more["ophys_container_id"]] if imaged else None
            made.append(row)
        made.sort(key=lambda row: tuple(row[name] for name in table.order))
        return self._write(table, [pa.Table.from_pylist(made, schema=file_schema(table))])


def _key(copy: Copy) -> str:
    """The key of a copy's NWB file, below the project's folder."""
    if experiment := copy.ids["ophys_experiment_id"]:
        return f"behavior_ophys_experiments/behavior_ophys_experiment_{experiment}.nwb"
    return f"behavior_sessions/behavior_session_{copy.ids['behavior_session_id']}.nwb"


def make_bucket(lake: Path, bucket: Path, sessions: Sequence[list[Copy]]) -> Release:
    """Makes a bucket of empty NWB files whose project tables are those of a lake."""
    folder = bucket / PROJECT / "project_metadata"
    folder.mkdir(parents=True)
    tables: list[Path] = []
    for name, file in MANIFEST_NAMES.items():
        rows = pq.read_table(lake / relative_path(TABLES[name])).to_pylist()
        tables.append(folder / f"{file}.csv")
        with tables[-1].open("w", newline="") as opened:
            writer = csv.DictWriter(opened, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    file_ids = {_key(copy): copy.values("file_key") or 0 for s in sessions for copy in s}
    for key in file_ids:
        (bucket / PROJECT / key).parent.mkdir(exist_ok=True)
        (bucket / PROJECT / key).touch()
    write_manifest(bucket, RELEASE, tables, file_ids, "benchmarks.full_size")
    return load_release(FolderSource(SourceSpec(str(bucket))), RELEASE)


def make_lake(
    template: Path,
    lake: Path,
    *,
    bucket: Path | None = None,
    mice: int = MICE,
    sessions: int = SESSIONS,
) -> dict[str, int]:
    """Writes the lake.

    Args:
        template: a lake of one mouse, with a session without imaging and two planes.
        lake: new or empty folder, on the template's file system.
        bucket: new or empty folder for the bucket of whose files the lake is to be. Without it,
            files of sessions and planes are linked, and there is no table of all cells.
        mice: number of mice.
        sessions: number of behaviour sessions over all mice.

    Returns:
        Rows by table, files of tables with a file per session or plane.
    """
    store = LocalStore(lake.absolute())
    create_lake(store, Marker(RELEASE))
    maker, counts = _Maker(template, store, own_files=bucket is not None), dict[str, int]()
    by_mouse = [list(copies_of(template, mouse, mice, sessions)) for mouse in range(mice)]
    everything = [planes for of_mouse in by_mouse for planes in of_mouse]
    declared = [t for t in TABLES.values() if (template / t.name).exists()]
    for table in declared:
        if table.name == "ophys_cells":
            counts |= {table.name: maker.write_cells(everything)} if bucket else {}
        elif table.storage is Storage.PROJECT:
            counts[table.name] = maker.write_project(table, everything)
    if bucket is not None:
        release = make_bucket(lake, bucket, everything)
        marker = Marker(RELEASE, origin=release.origin, source=str(bucket), synthetic=True)
        maker.objects = {
            number: {"object_key": o.key, "version_id": o.version_id, "file_hash": o.file_hash}
            for number, o in release.files.items()
        }
        store.write(MARKER, marker.to_json())
    for table in declared:
        if table.storage is Storage.IMAGE_SET and bucket:
            shutil.copytree(template / table.name, lake / table.name)
        elif table.storage is Storage.MOUSE:
            counts[table.name] = sum(maker.write_mouse(table, of_mouse) for of_mouse in by_mouse)
        elif table.storage in (Storage.SESSION, Storage.EXPERIMENT):
            planes = table.storage is Storage.EXPERIMENT
            for copies in everything:
                for copy in copies if planes else copies[:1]:
                    maker.add_file(table, copy)
    build_catalog(store, RELEASE)
    return counts


def main() -> None:
    """Makes the lake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--template", type=Path, required=True, metavar="LAKE", help="lake of one mouse"
    )
    parser.add_argument(
        "--lake", type=Path, required=True, metavar="DIR", help="new or empty folder"
    )
    parser.add_argument(
        "--bucket", type=Path, metavar="DIR", help="new or empty folder: write all files"
    )
    parser.add_argument("--mice", type=int, default=MICE, metavar="N", help="mice [%(default)s]")
    parser.add_argument(
        "--sessions",
        type=int,
        default=SESSIONS,
        metavar="N",
        help="sessions over all mice [%(default)s]",
    )
    options = parser.parse_args()
    started = time.perf_counter()
    size = {"mice": options.mice, "sessions": options.sessions}
    counts = make_lake(options.template, options.lake, bucket=options.bucket, **size)
    print(
        ", ".join(f"{rows:,} {name}" for name, rows in counts.items()),
        f"in {time.perf_counter() - started:.0f} s",
    )


if __name__ == "__main__":
    main()
