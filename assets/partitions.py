"""The partitions: one per mouse."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

_NAME = "mouse"

MICE = dg.DynamicPartitionsDefinition(name=_NAME)
"""A partition is a mouse: the release has 107. With a partition per file, Dagster's events alone
would take over an hour."""


def known_mice(instance: dg.DagsterInstance) -> set[int]:
    """The mice that have a partition."""
    return {int(key) for key in instance.get_dynamic_partitions(_NAME)}


def register_mice(instance: dg.DagsterInstance, mice: Iterable[int]) -> None:
    """Adds a partition for every mouse that has none yet."""
    new = [str(mouse) for mouse in sorted({*mice} - known_mice(instance))]
    if new:
        instance.add_dynamic_partitions(_NAME, new)
