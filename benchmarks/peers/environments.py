"""Makes environments for the peers from PyPI, in a work folder apart from the project's own.

`python -m benchmarks.peers.environments --work DIR` makes them ahead of a measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parent

_PYTHONS = ("3.11", "3.10")
"""allensdk 2.16.2 needs numpy<1.24 and pandas 1.5, which have wheels for Python 3.11 at most. All
peers get the same interpreter.
"""

_INSTALL_TIMEOUT_S = 600


@dataclass(frozen=True)
class Peer:
    """A package that reads or converts the same files.

    Attributes:
        name: its name in the tables.
        requirements: packages to install, pinned as in the targets.
        script: file in this folder; called with FILE OUT.
    """

    name: str
    requirements: tuple[str, ...]
    script: str


PEERS = (
    # setuptools<81: allensdk imports pkg_resources, which newer ones lack.
    Peer(
        "sdk", ("allensdk==2.16.2", "hdmf==3.14.6", "pynwb==2.8.3", "setuptools<81"), "sdk_read.py"
    ),
    # zarr<3: without it pip tries every version of zarr and fsspec for minutes.
    Peer("lazynwb", ("lazynwb", "zarr<3"), "lazynwb_tables.py"),
    Peer("pynwb", ("pynwb==2.8.3", "hdmf==3.14.6", "pandas<3", "pyarrow"), "pynwb_convert.py"),
)


def find_python() -> str | None:
    """Returns an interpreter old enough for all peers, from pyenv or PATH, or None."""
    for version in _PYTHONS:
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        # pyenv's own first: its shims on PATH exist for inactive versions too.
        for candidate in (*map(str, reversed(pyenv)), shutil.which(f"python{version}")):
            if (
                candidate
                and subprocess.run(
                    [candidate, "-c", "import venv"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                return candidate
    return None


def _failure(done: subprocess.CompletedProcess[str]) -> str:
    lines = [
        line
        for line in (done.stderr or done.stdout).splitlines()
        if line.strip() and not line.startswith("WARNING")
    ]
    return lines[-1] if lines else f"pip ended with {done.returncode}"


def _install(peer: Peer, python: Path) -> str | None:
    """Installs the requirements; returns the reason if that fails."""
    # uv resolves in seconds what takes pip minutes; without uv, pip does it.
    uv = python.with_name("uv")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "uv"], capture_output=True, check=False)
    if uv.exists():
        pip = [str(uv), "pip", "install", "--python", str(python)]
    command = [*pip, *peer.requirements]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not installed after {_INSTALL_TIMEOUT_S} s"
    return _failure(done) if done.returncode else None


def _versions(peer: Peer, python: Path) -> dict[str, str]:
    """Returns the installed versions of the requirements and of what they stand on."""
    command = [str(python), "-m", "pip", "list", "--format=json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {r.split("==")[0].split("<")[0].lower() for r in peer.requirements}
    names |= {"numpy", "pandas", "h5py", "pyarrow", "polars"}
    packages = json.loads(listed.stdout)
    return {p["name"].lower(): p["version"] for p in packages if p["name"].lower() in names}


def make(peer: Peer, work: Path) -> tuple[Path | None, str]:
    """Returns the environment of a peer, making it if needed.

    Args:
        peer: the peer.
        work: folder for all environments.

    Returns:
        Its interpreter and the versions installed, or None and why it cannot be installed here.
    """
    home = work / f"env-{peer.name}"
    python, ready = home / "bin" / "python", home / "ready.json"
    if not ready.exists():
        base = find_python()
        if base is None:
            return None, f"no Python {' or '.join(_PYTHONS)} on this machine"
        shutil.rmtree(home, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run([base, "-m", "venv", str(home)], check=True)
        if (reason := _install(peer, python)) is not None:
            return None, reason
        ready.write_text(json.dumps(_versions(peer, python)))
    versions: dict[str, str] = json.loads(ready.read_text())
    return python, ", ".join(f"{k} {v}" for k, v in sorted(versions.items()))


def command(peer: Peer, python: Path, file: Path, out: Path) -> list[str]:
    """Returns the command that runs a peer on a file, without the cost of printing warnings."""
    return [str(python), "-W", "ignore", os.fspath(_SCRIPTS / peer.script), str(file), str(out)]


def main() -> None:
    """Makes all environments."""
    parser = argparse.ArgumentParser(description="Makes the environments of the peers from PyPI.")
    parser.add_argument(
        "--work", type=Path, required=True, metavar="DIR", help="folder for the environments"
    )
    options = parser.parse_args()
    failed = False
    for peer in PEERS:
        python, text = make(peer, options.work)
        failed |= python is None
        print(f"{peer.name}: {text if python else f'not installable here: {text}'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
