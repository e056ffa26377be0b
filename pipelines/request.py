"""What an ingest is asked to do."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Self

from pipelines.release.selection import Selection
from pipelines.source.base import SourceSpec
from schemas.checks import RULES, Rule
from schemas.errors import UsageError

DASK_WAIT_S = 600.0
"""A batch system may take minutes to start workers."""
DATA_PREFIX = "visual-behavior-ophys/"


@dataclass(frozen=True)
class AllowedRule:
    """A rule that the user has looked at and allows files to break.

    Attributes:
        rule: the rule.
        file_key: id of the only file for which it is allowed; None for all of the selection.
    """

    rule: Rule
    file_key: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads RULE or RULE:FILE_KEY.

        Raises:
            UsageError: there is no such rule, it cannot be allowed, or the key is not a number.

        >>> AllowedRule.parse("finite:951980471")
        AllowedRule(rule=<Rule.FINITE: 'finite'>, file_key=951980471)
        """
        name, colon, key = text.partition(":")
        possible = [rule.value for rule, facts in RULES.items() if facts.can_be_allowed]
        if name not in possible:
            problem = "cannot be allowed" if name in list(Rule) else "is not a rule"
            near = difflib.get_close_matches(name, possible, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else "See `vblake rules`."
            raise UsageError(f"--allow {text}: {name} {problem}. {hint}")
        if colon and not key.isdecimal():
            raise UsageError(
                f"--allow {text}: {key!r} is not a file's key. Give the id in the file's name."
            )
        return cls(Rule(name), int(key) if colon else None)


@dataclass(frozen=True)
class IngestRequest:
    """What the user asked for.

    Attributes:
        source: where the bucket is.
        lake: folder or `s3://` prefix.
        release: `latest` or X.Y.Z; None for what the lake follows, which is `latest` for a new one.
        selection: which files and tables.
        allow: rules that rows of the selection may break.
        force: convert again what is already in the lake.
        workers: processes; None for one per core, 0 for this process.
        memory: bound on the memory of all workers together, bytes; None for half of the machine's.
        dask: address of a Dask scheduler whose workers convert the files instead.
        dask_wait_s: how long to wait for workers of it while there are none, seconds.
        verify_hash: fetch objects of a remote source whole and check them against the hash of the
            manifest. It is implied if the source ignores versions.
        wait_s: how long to wait for another process that writes to the lake, seconds.
    """

    source: SourceSpec
    lake: str
    release: str | None = None
    selection: Selection = field(default_factory=Selection)
    allow: tuple[AllowedRule, ...] = ()
    force: bool = False
    workers: int | None = None
    memory: int | None = None
    dask: str | None = None
    dask_wait_s: float = DASK_WAIT_S
    verify_hash: bool = False
    wait_s: float = 0.0
