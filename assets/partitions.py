"""The partitions: one per mouse, and the tags of a run over several of them."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

MICE = dg.DynamicPartitionsDefinition(name="mouse")
"""A partition is a mouse: the release has 107. With a partition per file, Dagster's events alone
would take over an hour."""

_NAME = "mouse"

# The tags by which Dagster's documentation asks for a single run over a range of partitions.
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


def register_mice(instance: dg.DagsterInstance, mice: Iterable[int]) -> None:
    """Adds a partition for every mouse that has none yet."""
    known = set(instance.get_dynamic_partitions(_NAME))
    new = [str(mouse) for mouse in sorted(mice) if str(mouse) not in known]
    if new:
        instance.add_dynamic_partitions(_NAME, new)


def range_tags(instance: dg.DagsterInstance, mice: Iterable[int]) -> dict[str, str]:
    """Tags of a single run over these mice.

    A range may hold other mice in between. The options of the run leave them out.
    """
    wanted = {str(mouse) for mouse in mice}
    ordered = [key for key in instance.get_dynamic_partitions(_NAME) if key in wanted]
    return {_RANGE_START: ordered[0], _RANGE_END: ordered[-1]}
