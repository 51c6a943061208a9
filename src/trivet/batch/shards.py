"""Shards: one is written per part, and all are joined into one file."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

#: Bytes in a row group of the output, or fewer at the end of a part.
GROUP_BYTES = 64 * 2**20
#: The format of a shard.
ShardFormat = Literal["csv", "csv with header", "parquet", "arrow"]


@contextmanager
def shard_writer(
    stream: Any, shard: ShardFormat, schema: pa.Schema, delimiter: str
) -> Iterator[Any]:
    """A writer with a ``write`` method, for the tables of one part."""
    if shard == "parquet":
        with pa.parquet.ParquetWriter(stream, schema) as parquet:
            yield parquet
    elif shard == "arrow":
        with pa.ipc.new_stream(stream, schema) as arrow:  # a file has one dictionary per column
            yield arrow
    else:
        if shard == "csv with header":
            stream.write(csv_header(schema.names, delimiter))
        yield _CsvWriter(stream, delimiter)


def csv_header(names: Iterable[str], delimiter: str) -> bytes:
    """The first line of a CSV file."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(names)
    return line.getvalue().encode()


@contextmanager
def joining(
    stream: Any, file_format: Literal["csv", "parquet"], schema: pa.Schema, delimiter: str
) -> Iterator[Any]:
    """A function that appends a shard, given as a stream, to one file."""
    if file_format == "csv":
        stream.write(csv_header(schema.names, delimiter))
        yield lambda shard: shutil.copyfileobj(shard, stream, 2**20)
        return
    with pa.parquet.ParquetWriter(stream, schema) as parquet:

        def join(shard: Any) -> None:
            group: list[pa.RecordBatch] = []
            for batch in pa.ipc.open_stream(shard):
                group.append(batch)
                if sum(batch.nbytes for batch in group) >= GROUP_BYTES:
                    parquet.write_table(pa.Table.from_batches(group))
                    group.clear()
            if group:
                parquet.write_table(pa.Table.from_batches(group))

        yield join


class _CsvWriter:
    """Writes tables as CSV without a header; a cell is quoted only if it has to be."""

    def __init__(self, stream: Any, delimiter: str) -> None:
        self._stream, self._delimiter = stream, delimiter
        self._special = f'["\r\n{re.escape(delimiter)}]'

    def write(self, table: pa.Table) -> None:
        """Write some more rows."""
        options = pa.csv.WriteOptions(
            include_header=False, delimiter=self._delimiter, quoting_style="none"
        )
        buffer = io.BytesIO()
        try:
            pa.csv.write_csv(table, buffer, options)
        except pa.ArrowInvalid:  # some cell holds a delimiter, a quote or a newline
            buffer = io.BytesIO(self._quoted(table))
        self._stream.write(buffer.getbuffer())

    def _quoted(self, table: pa.Table) -> bytes:
        cells = [self._as_cells(column) for column in table.columns]
        lines = pc.binary_join_element_wise(*cells, self._delimiter)
        return "".join(f"{line}\n" for line in lines.to_pylist()).encode()

    def _as_cells(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        cells = pc.fill_null(column.cast(pa.string()), "")
        doubled = pc.replace_substring(cells, '"', '""')
        quoted = pc.binary_join_element_wise('"', doubled, '"', "")
        return pc.if_else(pc.match_substring_regex(cells, self._special), quoted, cells)
