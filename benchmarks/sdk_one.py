"""Reads what the released SDK gives of an experiment from a lake: `sdk_one LAKE EXPERIMENT`.

Measures opening the lake and reading `trials`, then reading everything from new objects; the
imports are left out of both. The last line printed is JSON.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

from vblake.sdk import BehaviorOphysExperiment, VisualBehaviorOphysProjectCache


def _opened(lake: str, experiment: int) -> BehaviorOphysExperiment:
    cache = VisualBehaviorOphysProjectCache.from_lake(lake)
    return cache.get_behavior_ophys_experiment(experiment)


def _needs_arguments(method: Any) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return any(p.default is p.empty for p in parameters)


def main() -> None:
    """Runs the script."""
    lake, experiment = sys.argv[1], int(sys.argv[2])
    started = time.perf_counter()
    kept: list[Any] = [_opened(lake, experiment).trials]
    opened = time.perf_counter() - started
    started, used = time.perf_counter(), time.process_time()
    plane = _opened(lake, experiment)
    read, failed = 0, list[str]()
    for name in plane.list_data_attributes_and_methods():
        try:
            value: Any = getattr(plane, name)
            if callable(value):
                if _needs_arguments(value):
                    continue
                value = value()
            kept.append(value)
            read += 1
        except LookupError as error:
            failed.append(f"{name}: {error}")
    facts = {"read_s": time.perf_counter() - started, "read_cpu_s": time.process_time() - used}
    versions = f"numpy {np.__version__}, pandas {pd.__version__}"
    print(
        json.dumps(
            {"attributes": read, "failed": failed, "trials_s": opened, "versions": versions} | facts
        )
    )


if __name__ == "__main__":
    main()
