"""Puts row groups of several Parquet files together to one, without decoding them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.footer import (
    MAGIC,
    data_of,
    framed,
    moved_row_group,
    read_footer,
    row_groups,
    with_row_groups,
)


class Source:
    """A Parquet file whose row groups can be copied.

    Args:
        file: the open file.
        reading: entered while it is read, to turn errors.

    Attributes:
        parquet: for reading its rows.
    """

    def __init__(
        self, file: pa.NativeFile, reading: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._file, self._reading = file, reading
        with reading():
            self.parquet = pq.ParquetFile(file, pre_buffer=False)

    def read(self, group: int, columns: list[str] | None = None) -> pa.Table:
        """The rows of a row group; all columns by default."""
        with self._reading():
            return self.parquet.read_row_group(group, columns)

    @property
    def footer(self) -> bytes:
        """Thrift bytes of its footer."""
        with self._reading():
            return read_footer(self._file, self._file.size())

    def data(self, group: int) -> tuple[int, bytes]:
        """Where the data of a row group start, bytes from the file's start, and the data.

        Raises:
            OSError: the file ends before them. `reading` may turn it into another.
        """
        start, end = data_of([self.parquet.metadata.row_group(group)])
        with self._reading():
            data = self._file.read_at(end - start, start)
            if len(data) < end - start:
                raise OSError(f"row group {group} is cut off")
        return start, data


def put_together(target: Path, groups: Sequence[tuple[Source, int]], like: Source) -> None:
    """Writes a file of row groups, which have the same schema and writer.

    Args:
        target: file to write.
        groups: the row groups in their order: file, number there.
        like: file with the schema and the key-value metadata.
    """
    texts = {source: row_groups(source.footer) for source in {like, *(s for s, _ in groups)}}
    listed: list[bytes] = []
    rows = 0
    target.unlink(missing_ok=True)  # it may be a second name of a published file
    with target.open("wb") as file:
        file.write(MAGIC)
        for source, number in groups:
            start, data = source.data(number)
            moved = moved_row_group(texts[source][number], file.tell() - start, len(listed))
            listed.append(moved)
            rows += source.parquet.metadata.row_group(number).num_rows
            file.write(data)
        file.write(framed(with_row_groups(like.footer, listed, rows)))
