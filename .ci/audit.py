"""Known vulnerabilities in the versions that constraints.txt pins.

pip-audit alone reports success if a mirror of the index has no advisories, although it looked at
nothing. Exit codes: 0 none is known, 1 some are, 2 it could not be found out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINNED = Path(__file__).parents[1] / "constraints.txt"
SERVICES = ("pypi", "osv")
_SECONDS = 600


def ask(service: str) -> tuple[list[dict[str, Any]], str]:
    """Returns what pip-audit finds at a service per dependency, and its message if it fails."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--requirement",
        str(PINNED),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
    ]
    command += ["--progress-spinner", "off", "--vulnerability-service", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError):
        return [], (
            done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        ).splitlines()[-1]


def _named(vulnerability: dict[str, Any]) -> str:
    aliases = ", ".join(vulnerability["aliases"])
    return f"{vulnerability['id']} ({aliases})" if aliases else vulnerability["id"]


def _fixed(vulnerability: dict[str, Any]) -> str:
    versions = ", ".join(vulnerability["fix_versions"])
    return f"fixed in {versions}" if versions else "no fixed version yet"


def report(found: list[dict[str, Any]]) -> int:
    """Prints a line per vulnerability; returns the exit code."""
    lines = [
        f"{d['name']} {d['version']}: {_named(v)}, {_fixed(v)}"
        for d in found
        for v in d.get("vulns", ())
    ]
    skipped = [d for d in found if "skip_reason" in d]
    lines += [f"not audited: {d['name']}: {d['skip_reason']}" for d in skipped]
    bad = sum(bool(d.get("vulns")) for d in found)
    lines.append(
        f"{len(found) - len(skipped)} of {len(found)} pinned packages audited, "
        f"{bad} with known vulnerabilities"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if bad else 2 if skipped else 0


def main() -> int:
    """Asks one service after the other until one knows the packages."""
    reasons: list[str] = []
    for service in SERVICES:
        found, failure = ask(service)
        if any("vulns" in d for d in found):
            return report(found)
        reasons.append(
            f"{service}: {failure or (found[0]['skip_reason'] if found else 'no packages')}"
        )
    sys.stderr.write(
        "error: nothing could be audited; no advisories can be reached from here. "
        "Run it where the network is open.\n" + "".join(f"  {reason}\n" for reason in reasons)
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
