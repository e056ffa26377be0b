"""Converts the tables that lazynwb knows to Parquet: trials, presentations, cells, metadata.

`python lazynwb_tables.py FILE OUT`.
"""

import json
import sys
import time
from pathlib import Path

_STARTED = time.perf_counter()

import lazynwb  # noqa: E402


def main() -> None:
    """Runs the script."""
    file, out = Path(sys.argv[1]), Path(sys.argv[2])
    imported = time.perf_counter() - _STARTED
    out.mkdir(parents=True, exist_ok=True)
    made = lazynwb.convert_nwb_tables([file], out, disable_progress=True)
    size = sum(Path(p).stat().st_size for p in made.values())
    print(json.dumps({"import_s": imported, "tables": len(made), "parquet_mb": size / 1e6}))


if __name__ == "__main__":
    main()
