"""`make demo`: a synthetic bucket, the main job, a question answered from the lake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUESTION = """
SELECT s.cre_line,
       s.experience_level                                         AS experience,
       count(DISTINCT t.behavior_session_id)                      AS sessions,
       count(*) FILTER (t.go)                                     AS go_trials,
       round(avg(t.hit::INT) FILTER (t.go), 3)                    AS hit_rate,
       round(avg(t.false_alarm::INT) FILTER (t.catch), 3)         AS false_alarm_rate,
       round(median(t.response_latency) FILTER (t.hit) * 1000)    AS latency_ms
FROM trials t JOIN behavior_sessions s USING (behavior_session_id)
GROUP BY ALL ORDER BY ALL
"""


def run(*command: str) -> None:
    """Prints a command as a person would type it, and runs it."""
    shown = " ".join(f"'{part.strip()}'" if " " in part else part for part in command)
    print(f"\n$ vblake {shown}", flush=True)
    subprocess.run([sys.executable, "-m", "assets", *command], check=True)


def main() -> None:
    """Runs the demo in the folder that the command line names."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    bucket, lake = str(folder / "bucket"), str(folder / "lake")
    run("sample", "--out", bucket, "--mice", "4", "--seed", "1")
    run("ingest", "--source", bucket, "--lake", lake)
    run("status", "--lake", lake)
    run("sql", "--lake", lake, QUESTION)


if __name__ == "__main__":
    main()
