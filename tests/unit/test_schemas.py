"""The declarations are consistent, and `docs/tables.md` is what they generate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from schemas import TABLES, Storage, Table, Type
from schemas.arrow import arrow_schema, file_schema
from schemas.checks import RULES, Level, Rule
from schemas.dictionary import COMMAND, dictionary_markdown
from schemas.known_defects import KNOWN

ROOT = Path(__file__).parents[2]
UNITS = {
    "s", "d", "UTC", "labelled UTC", "Hz", "1/min", "frame", "px", "px^2", "um", "mm", "nm", "cm/s", "deg", "rad", "cycles/deg",
    "mL", "dF/F", "a.u.", "gray level", "byte", "V",
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_declaration_is_consistent(table: Table) -> None:
    names = [c.name for c in table]
    shown = names + [c.alias for c in table if c.alias]
    assert len({n.lower() for n in shown}) == len(shown), "DuckDB ignores the case of names"
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", n) for n in shown)
    assert all(table[n].required and not table[n].optional for n in table.primary_key)
    assert set(table.order) <= set(names)
    # Files are sorted by the primary key, so that the statistics of row groups locate a session.
    inside = tuple(n for n in table.primary_key if table[n] in table.stored)
    last = table.order[-len(inside) :]
    assert sorted(last) == sorted(inside) or not inside or table.storage is Storage.PROJECT
    if table.storage in (Storage.SESSION, Storage.EXPERIMENT):
        ids = [n for n in names if n in Storage.EXPERIMENT.partitions]
        assert ids == list(table.storage.partitions), "a filter on any id skips files"
    for key in table.foreign_keys:
        target = TABLES[key.table]
        assert key.references == target.primary_key
        assert [table[c].type for c in key.columns] == [target[c].type for c in key.references]
        published = list(TABLES)
        assert published.index(key.table) < published.index(table.name), "parents come first"
    assert {n for check in table.checks for n in check.columns} <= set(names)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_and_columns_say_what_they_are(table: Table) -> None:
    for text in (table.description, *(c.description for c in table)):
        assert re.fullmatch(r"\S.{0,118}\.", text)
    for column in table:
        assert column.unit is None or column.unit in UNITS
        assert column.source or table.name == "source_files"
        assert not (column.required and column.optional)
        assert not column.sentinels or column.type is Type.INT64
        assert (column.type is Type.TIMESTAMP) == (column.unit in ("UTC", "labelled UTC"))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_arrow_schemas_carry_the_declaration(table: Table) -> None:
    schema = file_schema(table, {"release": "1.1.0"})
    assert schema.names == [c.name for c in table.stored]
    for field, column in zip(schema, table.stored, strict=True):
        metadata = {k.decode(): v.decode() for k, v in field.metadata.items()}
        assert metadata["description"] == column.description
        assert metadata.get("unit") == column.unit
        assert metadata.get("source", "") == column.source
        assert field.nullable is not column.required
    metadata = {k.decode(): v.decode() for k, v in schema.metadata.items()}
    assert json.loads(metadata.pop("primary_key")) == list(table.primary_key)
    assert metadata == {"table": table.name, "description": table.description, "release": "1.1.0"}


def test_arrow_types_have_the_names_that_duckdb_gives_them() -> None:
    duckdb = pytest.importorskip("duckdb")
    for table in TABLES.values():
        empty = arrow_schema(table).empty_table()
        relation = duckdb.from_arrow(empty)
        types = [str(type_).removesuffix(" WITH TIME ZONE") for type_ in relation.types]
        declared = {c.name: c.type.value for c in table.converted}
        assert dict(zip(relation.columns, types, strict=True)) == declared


def test_the_page_of_tables_is_not_stale() -> None:
    page = ROOT / "docs" / "tables.md"
    assert page.read_text(encoding="utf-8") == dictionary_markdown(), (
        f"docs/tables.md is stale; run: {COMMAND}"
    )


def anchors(markdown: str) -> set[str]:
    return {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)}


def test_links_of_the_pages_lead_somewhere() -> None:
    tables = dictionary_markdown()
    formulas = (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8")
    to_formulas = set(re.findall(r"\(formulas\.md#([^)]+)\)", tables))
    assert {"reward-rate", "d-prime", "is_change"} <= to_formulas <= anchors(formulas)
    assert set(re.findall(r"\(#([^)]+)\)", tables)) == set(TABLES) <= anchors(tables)
    assert set(re.findall(r"\(#([^)]+)\)", formulas)) <= anchors(formulas)


def test_formulas_name_columns_that_exist() -> None:
    formulas = (ROOT / "docs" / "formulas.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+)\.([a-z_]+)`", formulas)
    assert len(named) > 15
    assert [(t, c) for t, c in named if c not in {x.name for x in TABLES[t]}] == []


# --- known exceptions ----------------------------------------------------------------------------


def test_known_exceptions_are_of_declared_things_with_a_reason() -> None:
    for e in KNOWN:
        table = TABLES[e.table]
        assert e.column is None or table[e.column]
        assert e.reason
        assert e.rows
        assert e.where is None or e.rule is None
        assert e.rule is not Rule.ROWS_EXPECTED or table.rows_expected
        assert e.unless is None or TABLES[e.unless.table][e.unless.column]
    assert len({(e.name, e.rule) for e in KNOWN}) == len(KNOWN)


def test_conditions_on_rows_are_sql_over_their_table() -> None:
    duckdb = pytest.importorskip("duckdb")
    for e in KNOWN:
        if e.where is not None:
            columns = ", ".join(
                f'CAST(NULL AS {c.type.value}) AS "{c.name}"' for c in TABLES[e.table]
            )
            assert duckdb.execute(
                f"SELECT count(*) FROM (SELECT {columns}) WHERE {e.where}"
            ).fetchone()


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_says_what_it_protects(rule: Rule) -> None:
    facts = RULES[rule]
    for text in filter(None, (facts.protects, facts.known)):
        assert (text[0].isupper(), text[-1]) == (True, "."), "a sentence"
    assert facts.level is Level.ERROR or not facts.can_be_allowed, "nothing is held back"


def test_keys_types_and_references_cannot_be_allowed() -> None:
    fixed = {Rule.FILE_IDENTITY, Rule.SOURCE_DATA, Rule.SCHEMA, Rule.NOT_NULL, Rule.PRIMARY_KEY}
    fixed |= {Rule.FOREIGN_KEY, Rule.PARENT_HELD_BACK}
    assert not any(RULES[rule].can_be_allowed for rule in fixed)
