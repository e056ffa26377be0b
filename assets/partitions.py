"""The partitions: one per mouse."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

MICE = dg.DynamicPartitionsDefinition(name="mouse")
"""A partition is a mouse: the release has 107. With a partition per file, Dagster's events alone
would take over an hour."""

_NAME = "mouse"


def register_mice(instance: dg.DagsterInstance, mice: Iterable[int]) -> None:
    """Adds a partition for every mouse that has none yet."""
    known = set(instance.get_dynamic_partitions(_NAME))
    new = [str(mouse) for mouse in sorted(mice) if str(mouse) not in known]
    if new:
        instance.add_dynamic_partitions(_NAME, new)
