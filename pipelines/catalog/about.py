"""What a lake says about itself: README.md, LICENSE.md, CITATION.cff, datapackage.json.

All of it follows from the declarations.
"""

from __future__ import annotations

import json
from typing import Any

from pipelines.catalog.declared import Listing
from pipelines.lake.store import Store
from schemas import TABLES, Column, Table, Type, dataset
from schemas.layout import CATALOG, DUCKLAKE, MANIFEST

README, LICENSE, CITATION, PACKAGE = "README.md", "LICENSE.md", "CITATION.cff", "datapackage.json"
ABOUT = (README, LICENSE, CITATION, PACKAGE)
"""The names of these files."""

_TYPES = {
    Type.INT64: "integer",
    Type.FLOAT64: "number",
    Type.FLOAT32: "number",
    Type.BOOL: "boolean",
    Type.STRING: "string",
    Type.TIMESTAMP: "datetime",
}
"""Types of a data package; a list is an array."""

_SYNTHETIC = "The data are synthetic: vblake made them up, and they say nothing about mice."


def write_about(
    store: Store, release: str, listed: Listing, *, synthetic: bool, published: bool = False
) -> None:
    """Writes those of the files that are missing or would change.

    Args:
        store: the lake.
        release: its release.
        listed: its files.
        synthetic: whether its source says that its data are synthetic.
        published: whether it is a published lake.
    """
    texts = {
        README: _readme(release, synthetic=synthetic, published=published),
        LICENSE: _license(synthetic=synthetic),
        CITATION: _citation(synthetic=synthetic),
        PACKAGE: _package(release, listed, synthetic=synthetic),
    }
    for name, text in texts.items():
        data = text.encode()
        if store.read(name) != data:
            store.write(name, data)


def _readme(release: str, *, synthetic: bool, published: bool) -> str:
    tables = "\n".join(f"| `{t.name}` | {t.description} |" for t in TABLES.values())
    return f"""# {dataset.TITLE}, release {release}, as tables

{_SYNTHETIC if synthetic else dataset.DESCRIPTION}

{_MADE_UP if synthetic else _MADE}

{_READ_PUBLISHED if published else _READ}
`SELECT * FROM _columns` describes every column, and so does `{PACKAGE}`.

| table | rows |
|---|---|
{tables}

Terms: [{LICENSE}]({LICENSE}). How to cite: [{CITATION}]({CITATION}).
"""


_MADE = (
    f"vblake made it from the NWB files of the {dataset.CREATOR} ({dataset.HOMEPAGE}): Parquet "
    "files and a DuckDB catalog."
)
_MADE_UP = "Parquet files and a DuckDB catalog, made by vblake."

_READ = f"""```python
import duckdb

con = duckdb.connect("{CATALOG}", read_only=True)
con.execute("SELECT count(*) FROM trials").fetchall()
```

With Polars: `pl.scan_parquet("trials/**/*.parquet", hive_partitioning=True)`. With vblake:
`vblake.open("folder or address of this lake")`.
"""

_READ_PUBLISHED = f"""In DuckDB with the extensions `ducklake` and `httpfs`, where PLACE is the
address or folder of this file:

```sql
ATTACH 'ducklake:PLACE/{DUCKLAKE}' AS vb (READ_ONLY, DATA_PATH 'PLACE/', OVERRIDE_DATA_PATH true);
USE vb;
SELECT count(*) FROM trials;
FROM vb.snapshots();     -- the releases; trials AT (VERSION => 1) is the first one's
```

`ATTACH 'ducklake:PLACE/{DUCKLAKE}'` is enough if it was published with that address. `{MANIFEST}`
lists the files for Polars and PyArrow, with sizes and SHA-256; do not read the folders with a glob,
as they also have the files of earlier snapshots. With vblake: `vblake.open("PLACE")`.
"""


def _license(*, synthetic: bool) -> str:
    if synthetic:
        return f"# Terms\n\n{_SYNTHETIC} No terms of the {dataset.CREATOR} apply to them.\n"
    return f"""# Terms of the data

The recordings are those of the {dataset.CREATOR}, from {dataset.BUCKET}. Its terms of use and its
citation policy apply; read them before you use or publish the data:

* {dataset.TERMS}
* {dataset.CITATION_POLICY}

The institute has published the same recordings on DANDI under {dataset.DANDI_LICENSE}:
{dataset.DANDISET}

vblake has turned the files into tables, and adds no terms of its own.
"""


def _citation(*, synthetic: bool) -> str:
    if synthetic:
        return (
            "cff-version: 1.2.0\nmessage: These data are synthetic. Cite the software.\n"
            "type: software\ntitle: vblake\nauthors:\n  - name: vblake contributors\n"
        )
    people = "".join(
        f"  - family-names: {family}\n    given-names: {given}\n"
        for family, given in dataset.AUTHORS
    )
    return (
        "cff-version: 1.2.0\nmessage: If you use these data, cite the dataset.\ntype: dataset\n"
        f"title: Allen Institute - Visual Behavior - Optical Physiology\nauthors:\n"
        f"  - name: {dataset.CREATOR}\n{people}doi: {dataset.DOI}\n"
        f"date-released: {dataset.YEAR}-11-21\nurl: {dataset.HOMEPAGE}\n"
    )


def _package(release: str, listed: Listing, *, synthetic: bool) -> str:
    facts: dict[str, Any] = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": dataset.NAME,
        "title": dataset.TITLE,
        "description": _SYNTHETIC if synthetic else dataset.DESCRIPTION,
        "version": release,
        "homepage": dataset.HOMEPAGE,
    }
    if not synthetic:
        facts["licenses"] = [{"path": dataset.TERMS, "title": "Allen Institute Terms of Use"}]
        facts["sources"] = [
            {"title": f"{dataset.TITLE}, {dataset.CREATOR}", "path": dataset.HOMEPAGE},
            {"title": f"On DANDI, {dataset.DANDI_LICENSE}", "path": dataset.DANDISET},
        ]
        facts["contributors"] = [{"title": dataset.CREATOR, "roles": ["creator"]}]
    present = {name: [*files] for name, files in listed.items() if files}
    facts["resources"] = [
        _resource(TABLES[name], paths, present.keys()) for name, paths in present.items()
    ]
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def _resource(table: Table, paths: list[str], present: Any) -> dict[str, Any]:
    keys = [
        {
            "fields": [*key.columns],
            "reference": {"resource": key.table, "fields": [*key.references]},
        }
        for key in table.foreign_keys
        if key.table in present
    ]
    schema: dict[str, Any] = {"fields": [_field(column) for column in table]}
    if table.primary_key:
        schema["primaryKey"] = [*table.primary_key]
    if keys:
        schema["foreignKeys"] = keys
    return {
        "name": table.name,
        "description": table.description,
        "path": paths,
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        # The values of these columns are in the names of folders alone.
        "partitions": [*table.storage.partitions],
        "schema": schema,
    }


def _field(column: Column) -> dict[str, Any]:
    field: dict[str, Any] = {
        "name": column.name,
        "type": _TYPES.get(column.type, "array"),
        "description": column.description,
    }
    if column.unit:
        field["unit"] = column.unit
    if column.required:
        field["constraints"] = {"required": True}
    return field
