"""The declarations themselves, without data, and the page that is generated from them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from schemas import TABLES, Storage, Table, Type
from schemas.arrow import arrow_schema
from schemas.checks import RULES, Level, Rule
from schemas.dictionary import (
    COMMAND,
    dictionary_markdown,
)
from schemas.known_defects import KNOWN, known

ROOT = Path(__file__).parents[2]
UNITS = {
    "s", "d", "UTC", "Hz", "1/min", "frame", "px", "px^2", "um", "mm", "nm", "cm/s", "deg", "rad", "cycles/deg",
    "mL", "dF/F", "a.u.", "gray level", "byte",
}  # fmt: skip

# The user's document of the tables, written out. `ophys_cells` and `source_files` are not in it.
SESSION = """age_in_days behavior_session_id cre_line date_of_acquisition driver_line equipment_name full_genotype
    indicator mouse_id ophys_container_id ophys_experiment_id ophys_session_id prior_exposures_to_image_set
    prior_exposures_to_omissions prior_exposures_to_session_type project_code reporter_line session_number session_type
    sex"""
METADATA = """age_in_days behavior_session_id behavior_session_uuid cre_line date_of_acquisition driver_line
    equipment_name full_genotype mouse_id reporter_line session_type sex stimulus_frame_rate"""
DOCUMENTED = {
    "behavior_sessions": f"{SESSION} file_id",
    "ophys_sessions": SESSION,
    "ophys_experiments": f"{SESSION} file_id imaging_depth targeted_structure",
    "behavior_metadata": METADATA,
    "experiment_metadata": f"""{METADATA} emission_lambda excitation_lambda experiment_container_id field_of_view_height
        field_of_view_width imaging_depth imaging_plane_group imaging_plane_group_count indicator ophys_experiment_id
        ophys_frame_rate ophys_session_id targeted_structure""",
    "task_parameters": """blank_duration_sec stimulus_duration_sec omitted_flash_fraction response_window_sec
        reward_volume auto_reward_volume session_type stimulus stimulus_distribution task n_stimulus_frames""",
    "trials": """trials_id lick_times reward_time reward_volume hit false_alarm miss stimulus_change aborted go catch
        auto_rewarded correct_reject start_time stop_time trial_length response_time change_frame change_time
        response_latency initial_image_name change_image_name""",
    "stimulus_presentations": """stimulus_presentations_id duration end_frame image_index image_name image_set index
        omitted start_frame start_time stop_time""",
    "stimulus_templates": "image_name unwarped warped",
    "stimulus_timestamps": "timestamps",
    "licks": "timestamps frame",
    "rewards": "volume timestamps autorewarded",
    "running_speed": "timestamps speed",
    "raw_running_speed": "timestamps speed",
    "rolling_performance": """trials_id reward_rate hit_rate_raw hit_rate false_alarm_rate_raw false_alarm_rate
        rolling_dprime""",
    "performance_metrics": """trial_count go_trial_count catch_trial_count hit_trial_count miss_trial_count
        false_alarm_trial_count correct_reject_trial_count auto_rewarded_trial_count rewarded_trial_count
        total_reward_count total_reward_volume maximum_reward_rate engaged_trial_count mean_hit_rate
        mean_hit_rate_uncorrected mean_hit_rate_engaged mean_false_alarm_rate mean_false_alarm_rate_uncorrected
        mean_false_alarm_rate_engaged mean_dprime mean_dprime_engaged max_dprime max_dprime_engaged""",
    "eye_tracking": """frame timestamps cr_area eye_area pupil_area likely_blink pupil_area_raw cr_area_raw eye_area_raw
        cr_center_x cr_center_y cr_height cr_phi cr_width eye_center_x eye_center_y eye_height eye_phi eye_width
        pupil_center_x pupil_center_y pupil_height pupil_phi pupil_width""",
    "cell_specimens": """cell_specimen_id cell_roi_id height mask_image_plane max_correction_down max_correction_left
        max_correction_right max_correction_up roi_mask valid_roi width x y""",
    "dff_traces": "cell_specimen_id cell_roi_id dff",
    "corrected_fluorescence_traces": "cell_specimen_id cell_roi_id corrected_fluorescence",
    "events": "cell_specimen_id cell_roi_id events filtered_events lambda noise_std",
    "ophys_timestamps": "timestamps",
    "motion_correction": "x y",
    "projections": "image_name pixels",
    "demixed_traces": "cell_specimen_id cell_roi_id",
    "neuropil_traces": "cell_specimen_id cell_roi_id",
    "ophys_cells": "",
    "source_files": "",
}
KEYS = {"mouse_id", "behavior_session_id", "ophys_session_id", "ophys_experiment_id"}

ALIASES = {
    ("experiment_metadata", "experiment_container_id"): "ophys_container_id",
    ("trials", "stimulus_change"): "is_change",
    ("stimulus_presentations", "stop_time"): "end_time",
    ("rewards", "autorewarded"): "auto_rewarded",
    ("performance_metrics", "auto_rewarded_trial_count"): "auto_reward_count",
    ("performance_metrics", "rewarded_trial_count"): "earned_reward_count",
}

PRIMARY_KEYS = {
    "behavior_sessions": "behavior_session_id",
    "ophys_sessions": "ophys_session_id",
    "ophys_experiments": "ophys_experiment_id",
    "ophys_cells": "cell_roi_id",
    "behavior_metadata": "behavior_session_id",
    "experiment_metadata": "ophys_experiment_id",
    "task_parameters": "behavior_session_id",
    "trials": "behavior_session_id trials_id",
    "stimulus_presentations": "behavior_session_id stimulus_presentations_id",
    "stimulus_templates": "image_set image_name",
    "stimulus_timestamps": "behavior_session_id",
    "licks": "",
    "rewards": "",
    "running_speed": "",
    "raw_running_speed": "",
    "rolling_performance": "behavior_session_id trials_id",
    "performance_metrics": "behavior_session_id",
    "eye_tracking": "behavior_session_id frame",
    "cell_specimens": "ophys_experiment_id cell_roi_id",
    "dff_traces": "ophys_experiment_id cell_roi_id",
    "corrected_fluorescence_traces": "ophys_experiment_id cell_roi_id",
    "events": "ophys_experiment_id cell_roi_id",
    "demixed_traces": "ophys_experiment_id cell_roi_id",
    "neuropil_traces": "ophys_experiment_id cell_roi_id",
    "ophys_timestamps": "ophys_experiment_id",
    "motion_correction": "ophys_experiment_id frame",
    "projections": "ophys_experiment_id image_name",
    "source_files": "release file_kind file_key",
}


def test_the_tables_are_those_of_the_contract() -> None:
    assert {name: " ".join(t.primary_key) for name, t in TABLES.items()} == PRIMARY_KEYS
    assert [name for name, t in TABLES.items() if t.by_name_only] == [
        "demixed_traces",
        "neuropil_traces",
    ]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_declaration_is_consistent(table: Table) -> None:
    names = [c.name for c in table]
    shown = names + [c.alias for c in table if c.alias]
    assert len({n.lower() for n in shown}) == len(shown), "DuckDB ignores the case of names"
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", n) for n in shown)
    assert all(table[n].required and not table[n].optional for n in table.primary_key)
    assert set(table.order) <= set(names)
    # Files are sorted by the primary key, so that the statistics of row groups locate a session.
    inside = tuple(n for n in table.primary_key if not table[n].partition)
    assert table.order[-len(inside) :] == inside or not inside or table.storage is Storage.PROJECT
    partition = {Storage.PROJECT: None, Storage.IMAGE_SET: "image_set"}
    expected = partition.get(table.storage, "mouse_id")
    assert (table.partition.name if table.partition else None) == expected
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
        assert (column.type is Type.TIMESTAMP) == (column.unit == "UTC")


def test_documented_columns_are_there_and_marked() -> None:
    assert set(DOCUMENTED) == set(TABLES)
    for name, columns in DOCUMENTED.items():
        marked = {c.name for c in TABLES[name] if c.documented}
        # Keys are documented names everywhere, also where the document has them as an attribute of the session only.
        assert marked - KEYS == set(columns.split()) - KEYS, name
        assert set(columns.split()) <= marked, name


def test_aliases_are_those_of_the_contract() -> None:
    assert {(t.name, c.name): c.alias for t in TABLES.values() for c in t if c.alias} == ALIASES


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_arrow_schemas_carry_the_declaration(table: Table) -> None:
    schema = arrow_schema(table, {"release": "1.1.0"})
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
        described = duckdb.from_arrow(empty).columns, duckdb.from_arrow(empty).types
        assert dict(zip(*described, strict=True)) == {c.name: c.type.value for c in table.stored}


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


def test_known_exceptions_are_of_declared_things_with_a_reason_and_a_source() -> None:
    for e in KNOWN:
        table = TABLES[e.table]
        assert e.column is None or table[e.column]
        assert re.match(r"NWB_TABLES\.md \d", e.source)
        assert e.reason
        assert e.rows
        assert e.where is None or e.rule is None
        assert e.rule is not Rule.ROWS_EXPECTED or table.rows_expected
        assert e.unless is None or TABLES[e.unless.table][e.unless.column]
    assert len({(e.name, e.rule) for e in KNOWN}) == len(KNOWN)


def test_a_known_exception_ends_with_a_release() -> None:
    assert {e.name for e in known("demixed_traces", Rule.ROWS_EXPECTED, "1.0.1")} == {
        "no-cells-in-demixed-traces",
        "no-demixed-traces",
    }
    assert {e.name for e in known("demixed_traces", Rule.ROWS_EXPECTED, "1.1.0")} == {
        "no-cells-in-demixed-traces"
    }
    assert known("trials", Rule.ROWS_EXPECTED, "0.1.0") == []


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
