"""The errors vblake raises on purpose.

Each says what was expected, what was found and what to do, and carries the file, table and column as attributes.
`retryable` tells whether the same call may succeed later without anyone changing anything.
"""

from __future__ import annotations


class VblakeError(Exception):
    """Root of the tree; its text is meant for the user."""

    retryable = False


class UsageError(VblakeError):
    """The user asked for something that does not exist or does not make sense (exit code 2)."""


class SourceError(VblakeError):
    """The bucket or folder could not be read."""


class TransientSourceError(SourceError):
    """The bucket did not answer properly; the same request may succeed later."""

    retryable = True


class ReleaseError(VblakeError):
    """A manifest or project table is missing or not what it should be."""


class LakeError(VblakeError):
    """The lake folder cannot be used."""


class DataError(VblakeError):
    """A file's content is not what the contract says. The file is quarantined, the others go on.

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
        """The same error with the file and table filled in where they were not known at the place it was raised."""
        self.file = self.file or file
        self.table = self.table or table
        return self

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("file", self.file), ("table", self.table), ("column", self.column))
            if value
        )
        parts = [f"{where}: {self.problem}" if where else self.problem]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        text = "; ".join(parts)
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; keyword-only arguments need this.
        fields = {
            k: getattr(self, k) for k in ("file", "table", "column", "expected", "found", "hint")
        }
        return (_rebuild, (type(self), self.problem, fields))


def _rebuild(cls: type[DataError], problem: str, fields: dict[str, str | None]) -> DataError:
    return cls(problem, **fields)


class NotNwbError(DataError):
    """The file is not HDF5, or not an NWB file of this dataset."""


class CastError(DataError):
    """A value does not fit its declared type."""


class IntegrityError(DataError):
    """Keys repeat, lengths disagree, or rows are missing where they were expected."""
