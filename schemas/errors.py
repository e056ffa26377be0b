"""The errors that vblake raises on purpose.

Each says what was expected, what was found and what to do, and carries file, table and column as
attributes. `retryable` tells whether the same call may succeed later without any change.
"""

from __future__ import annotations


class VblakeError(Exception):
    """Base of all errors of vblake; its text is written for the user."""

    retryable = False


class UsageError(VblakeError):
    """The user asked for something that does not exist or makes no sense (exit code 2)."""


class SourceError(VblakeError):
    """The bucket or folder could not be read."""


class TransientSourceError(SourceError):
    """The bucket did not answer properly; the same request may succeed later."""

    retryable = True


class ReleaseError(VblakeError):
    """A manifest or project table is missing or malformed."""


class LakeError(VblakeError):
    """The lake cannot be used."""


class DataError(VblakeError):
    """The content of a file breaks the contract. The file is quarantined; the others continue.

    Args:
        problem: one sentence on what is wrong.
        file: object key or path.
        table: table of the lake that was being read.
        column: column of that table, or the dataset's path in the file.
        expected: what should have been there.
        found: what was there.
        hint: what the user can do.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        table: str | None = None,
        column: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.table = table
        self.column = column
        self.expected = expected
        self.found = found
        self.hint = hint

    def located(self, *, file: str | None = None, table: str | None = None) -> DataError:
        """The same error, with file and table added if they were not known where it was raised."""
        self.file = self.file or file
        self.table = self.table or table
        return self

    def __str__(self) -> str:
        return describe(self.problem, **self._details())

    def _details(self) -> dict[str, str | None]:
        names = ("file", "table", "column", "expected", "found", "hint")
        return {name: getattr(self, name) for name in names}

    def __reduce__(self) -> tuple[object, ...]:
        # Workers send errors to their parent; pickle cannot pass keyword-only arguments by itself.
        return (_rebuild, (type(self), self.problem, self._details()))


def _rebuild(cls: type[DataError], problem: str, details: dict[str, str | None]) -> DataError:
    return cls(problem, **details)


def describe(
    problem: str,
    *,
    file: str | None = None,
    table: str | None = None,
    column: str | None = None,
    expected: str | None = None,
    found: str | None = None,
    hint: str | None = None,
) -> str:
    """The text of an error or finding.

    >>> describe("it is broken", table="trials", expected="true", found="false", hint="Fix it.")
    'table trials: it is broken; expected true; found false. Fix it.'
    """
    places = (("file", file), ("table", table), ("column", column))
    where = ", ".join(f"{name} {value}" for name, value in places if value)
    parts = [f"{where}: {problem}" if where else problem]
    parts += [] if expected is None else [f"expected {expected}"]
    parts += [] if found is None else [f"found {found}"]
    text = "; ".join(parts)
    return f"{text}. {hint}" if hint else text


class NotNwbError(DataError):
    """The file is not HDF5, or not an NWB file of this dataset."""


class CastError(DataError):
    """A value does not fit its declared type."""


class IntegrityError(DataError):
    """A rule of the declarations is broken: keys repeat, lengths disagree, rows are missing."""
