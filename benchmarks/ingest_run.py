"""One ingest without Dagster: `pipelines.ingest` directly, to tell its cost from Dagster's.

`python -m benchmarks.ingest_run --source DIR --lake DIR --where SQL --workers N`; ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, metavar="DIR", help="bucket")
    parser.add_argument("--lake", type=Path, required=True, metavar="DIR", help="new lake")
    parser.add_argument("--where", metavar="SQL", help="which files [all]")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes [%(default)s]")
    options = parser.parse_args()

    from pipelines.workers import start_server

    start_server()
    from pipelines.ingest import IngestRequest, ingest, prepare
    from pipelines.planning import Selection
    from pipelines.sources import SourceSpec

    selection = Selection(where=options.where)
    request = IngestRequest(SourceSpec(str(options.source)), str(options.lake), selection=selection, workers=options.workers)
    reports = ingest(prepare(request))
    failed = [e for r in reports for e in r.quarantined]
    if failed:
        raise SystemExit(str(failed[0].error))
    print(json.dumps({"parent_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}))


if __name__ == "__main__":  # workers import this module again
    main()
