"""A lake in S3 against the same lake in a folder: `vblake sql`, `status` and `verify`.

    python -m benchmarks.bucket --work /tmp/bench [--lake LAKE] [--latency 0.005]

The lake is served by `tests/servers/s3.py` on loopback, in a process of its own. Without --lake, a
small synthetic bucket is ingested into the work folder, once. A bucket is to take at most twice as
long as a folder.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.fetch import counted, served
from benchmarks.harness import (
    Sample,
    argument_parser,
    python,
    run_once,
    run_repeated,
    table,
    write_json,
)

UNLIMITED = 1e12
"""Bytes a second."""
BUCKET = "visual-behavior-ophys-data"
COMMANDS = {
    "sql, count": ("sql", "SELECT count(*) FROM trials"),
    "sql, columns": (
        "sql",
        "SELECT image_name, count(*), avg(start_time), sum(rewarded::INT) "
        "FROM stimulus_presentations GROUP BY ALL",
    ),
    "sql, traces": ("sql", "SELECT avg(list_avg(dff)) FROM dff_traces"),
    "status": ("status",),
    "verify --quick": ("verify", "--quick"),
    "verify": ("verify",),
}


def small_lake(work: Path) -> Path:
    """Returns a lake of the small synthetic bucket, making it if needed."""
    lake, source = work / "small-lake", work / "small-source"
    if not (lake / "catalog.duckdb").exists():
        run_once(python("assets", "sample", "--out", source))
        run_once(python("assets", "ingest", "--lake", lake, "--source", source))
    return lake


def main() -> None:
    """Reads the command line, measures and prints a table."""
    parser = argument_parser(__doc__, "folder for the small lake")
    parser.add_argument("--lake", type=Path, help="a lake in a folder, instead of a small one")
    parser.add_argument("--latency", type=float, default=0.005, help="seconds a request [0.005]")
    options = parser.parse_args()
    lake: Path = options.lake or small_lake(options.work)
    requests: dict[str, int] = {}
    with served(lake, options.latency, UNLIMITED) as endpoint:

        def reset(_: str) -> None:
            counted(endpoint)

        def count(name: str, _: Sample) -> None:
            requests[name] = counted(endpoint)["requests"]

        settings = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        places = {"folder": str(lake), "S3": f"s3://{BUCKET}"}
        commands = {
            f"{name}, {place}": python("assets", *command, "--lake", address)
            for name, command in COMMANDS.items()
            for place, address in places.items()
        }
        found = run_repeated(
            commands, options.repeats, environment=settings, before=reset, after=count
        )
    rows: list[tuple[object, ...]] = []
    for name in COMMANDS:
        here, there = found[f"{name}, folder"], found[f"{name}, S3"]
        ratio = there.wall_s / here.wall_s
        rows.append((name, here.wall_s, there.wall_s, ratio, requests[f"{name}, S3"]))
    print(f"{len([*lake.rglob('*.parquet')])} files, {1000 * options.latency:g} ms a request")
    print(table(("command", "folder s", "S3 s", "ratio", "requests"), rows))
    if options.out:
        write_json(options.out, "bucket", {"latency": options.latency}, found, requests=requests)


if __name__ == "__main__":
    main()
