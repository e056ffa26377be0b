"""`make audit`: what it makes of pip-audit's answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}],
}
UNKNOWN = {"name": "c", "skip_reason": "not on PyPI"}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "audit", Path(__file__).parents[2] / ".ci/audit.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "code", "lines"),
    [
        ([GOOD], 0, ["1 of 1 pinned packages audited, 0 with known vulnerabilities"]),
        (
            [GOOD, BAD],
            1,
            [
                "b 2: PYSEC-1 (CVE-1), fixed in 2.1",
                "2 of 2 pinned packages audited, 1 with known vulnerabilities",
            ],
        ),
        (
            [GOOD, UNKNOWN],
            2,
            [
                "not audited: c: not on PyPI",
                "1 of 2 pinned packages audited, 0 with known vulnerabilities",
            ],
        ),
    ],
)
def test_what_was_found(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: list[object],
    code: int,
    lines: list[str],
) -> None:
    monkeypatch.setattr(audit, "ask", lambda service: (found, ""))
    assert audit.main() == code
    assert capsys.readouterr().out.splitlines() == lines


def test_an_audit_that_saw_nothing_is_no_success(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        audit, "ask", lambda service: ([UNKNOWN], "") if service == "pypi" else ([], "no such host")
    )
    assert audit.main() == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: nothing could be audited; no advisories can be reached from here. Run it where the network is open.",
        "  pypi: not on PyPI",
        "  osv: no such host",
    ]


def test_every_pinned_version_is_audited(audit: ModuleType) -> None:
    lines = [
        line for line in audit.PINNED.read_text().splitlines() if line and not line.startswith("#")
    ]
    assert lines
    assert all("==" in line for line in lines), "pip-audit looks at exact versions"
