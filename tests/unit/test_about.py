"""What a lake says about itself follows from the declarations, and from where it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import yaml

from pipelines.catalog.build import rebuild_catalog
from pipelines.frozen.publish import publish
from pipelines.lake.marker import read_marker
from pipelines.lake.store import LocalStore
from schemas import TABLES, dataset
from schemas.layout import MARKER


def text(store: LocalStore, name: str) -> str:
    data = store.read(name)
    assert data is not None, name
    return data.decode()


def test_a_lake_says_what_it_is(store: LocalStore) -> None:
    rebuild_catalog(store)
    readme = text(store, "README.md")
    assert readme.startswith("# Visual Behavior 2P, release 1.1.0, as tables\n")
    assert all(f"| `{t.name}` | {t.description} |" in readme for t in TABLES.values())
    license_text = text(store, "LICENSE.md")
    assert dataset.TERMS in license_text
    assert dataset.CITATION_POLICY in license_text
    cited = yaml.safe_load(text(store, "CITATION.cff"))
    assert (cited["type"], cited["doi"]) == ("dataset", dataset.DOI)
    package = json.loads(text(store, "datapackage.json"))
    resources = {r["name"]: r for r in package["resources"]}
    assert {p for r in resources.values() for p in r["path"]} == {
        path for table in TABLES for path in store.files(table)
    }
    trials = resources["trials"]["schema"]
    assert [f["name"] for f in trials["fields"]] == [c.name for c in TABLES["trials"]]
    assert trials["primaryKey"] == ["behavior_session_id", "trials_id"]
    assert all(
        key["reference"]["resource"] in resources
        for r in resources.values()
        for key in r["schema"].get("foreignKeys", [])
    )


def test_no_staging_folder_is_left(store: LocalStore) -> None:
    rebuild_catalog(store)
    assert not store.staging.exists()


def test_staged_files_stay(store: LocalStore) -> None:
    staged = store.staging / "behavior_session_1"
    staged.mkdir(parents=True)
    rebuild_catalog(store)
    assert staged.exists()


def test_nothing_is_written_that_is_the_same(store: LocalStore) -> None:
    rebuild_catalog(store)
    before = (store.folder / "README.md").stat().st_mtime_ns
    rebuild_catalog(store)
    assert (store.folder / "README.md").stat().st_mtime_ns == before


def test_synthetic_data_are_nobodys(store: LocalStore) -> None:
    marker = read_marker(store)
    assert marker is not None
    store.write(MARKER, replace(marker, synthetic=True).to_json())
    rebuild_catalog(store)
    for name in ("README.md", "LICENSE.md", "CITATION.cff", "datapackage.json"):
        assert "synthetic" in text(store, name)
        assert dataset.TERMS not in text(store, name)


def test_a_published_lake_says_how_to_read_it(store: LocalStore, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "vb")
    publish(store, target)
    assert "ATTACH 'ducklake:PLACE/vb.ducklake'" in text(target, "README.md")
    package = json.loads(text(target, "datapackage.json"))
    paths = [path for resource in package["resources"] for path in resource["path"]]
    assert paths
    assert all((target.folder / path).is_file() for path in paths)
    assert str(tmp_path) not in text(target, "README.md") + json.dumps(package)
