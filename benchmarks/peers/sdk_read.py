"""Opens a file with the released SDK and reads every attribute; writes nothing.

`python sdk_read.py FILE [OUT]`.
"""

import inspect
import json
import sys
import time
from pathlib import Path

_STARTED = time.perf_counter()

from allensdk.brain_observatory.behavior.behavior_ophys_experiment import BehaviorOphysExperiment  # noqa: E402
from allensdk.brain_observatory.behavior.behavior_session import BehaviorSession  # noqa: E402


def _needs_arguments(method) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )


def main() -> None:
    """Runs the script."""
    file = Path(sys.argv[1])
    imported = time.perf_counter() - _STARTED
    started, used = time.perf_counter(), time.process_time()
    kind = BehaviorOphysExperiment if "experiment" in file.name else BehaviorSession
    session = kind.from_nwb_path(str(file))
    read, failed = 0, []
    for name in session.list_data_attributes_and_methods():
        try:
            value = getattr(session, name)
            if callable(value):
                if _needs_arguments(value):
                    continue
                value()
            read += 1
        except Exception as error:  # noqa: BLE001 - e.g. eye tracking of a session without any
            failed.append(f"{name}: {type(error).__name__}")
    facts = {"read_s": time.perf_counter() - started, "read_cpu_s": time.process_time() - used}
    print(json.dumps({"import_s": imported, "attributes": read, "failed": failed} | facts))


if __name__ == "__main__":
    main()
