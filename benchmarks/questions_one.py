"""Answers one recipe of docs/cookbook in this process: `questions_one LAKE NUMBER`.

Start-up (imports and opening the lake) is measured apart. The last line printed is JSON.
"""

from __future__ import annotations

import json
import sys
import time

_STARTED, _USED = time.perf_counter(), time.process_time()

import vblake  # noqa: E402 - its import is part of the start-up
from benchmarks.cookbook import recipes  # noqa: E402


def main() -> None:
    """Runs the script; the ids to put in place are in the third argument, as JSON."""
    root, number, ids = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    (recipe,) = [r for r in recipes() if r.number == number]
    with vblake.open(root) as lake:
        started, used = time.perf_counter(), time.process_time()
        answer = recipe.run(lake, ids)
        facts = {
            "s": time.perf_counter() - started,
            "cpu_s": time.process_time() - used,
            "start_s": started - _STARTED,
            "start_cpu_s": used - _USED,
            "rows": len(answer),
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
