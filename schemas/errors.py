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


class LakeChangedError(LakeError):
    """The lake is no longer what a plan was made for: another process has changed it."""

    retryable = True


class ClusterError(VblakeError):
    """The Dask scheduler or its workers cannot be used."""


class DataError(VblakeError):
    """The content of a file breaks the contract. What depends on it is held back, all else not.

    Args:
        problem: one sentence on what is wrong.
        file: object key or path.
        table: table of the lake that was being read.
        column: column of that table, or the dataset's path in the file.
        expected: what should have been there.
        found: what was there.
        hint: what the user can do.
        rule: the rule that is broken, of `schemas.checks.Rule`.
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
        rule: str = "source_data",
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.table = table
        self.column = column
        self.expected = expected
        self.found = found
        self.hint = hint
        self.rule = rule

    def located(self, *, file: str | None = None, table: str | None = None) -> DataError:
        """The same error, with file and table added if they were not known where it was raised."""
        self.file = self.file or file
        self.table = self.table or table
        return self

    def __str__(self) -> str:
        """Returns the whole message.

        >>> str(DataError("it is broken", table="trials", expected="true", found="false"))
        'table trials: it is broken; expected true; found false'
        """
        places = (("file", self.file), ("table", self.table), ("column", self.column))
        where = ", ".join(f"{name} {value}" for name, value in places if value)
        text = f"{where}: {self.problem}" if where else self.problem
        text += "" if self.expected is None else f"; expected {self.expected}"
        text += "" if self.found is None else f"; found {self.found}"
        return f"{text}. {self.hint}" if self.hint else text


class NotNwbError(DataError):
    """The file is not HDF5, or not an NWB file of this dataset."""


class CastError(DataError):
    """A value does not fit its declared type."""


class IntegrityError(DataError):
    """A rule of the declarations is broken: keys repeat, lengths disagree, rows are missing."""
