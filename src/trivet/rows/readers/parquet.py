"""Parquet: typed columns, in row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from trivet.rows.readers import text
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted
from trivet.rows.readers.typed import read_batches, typed_file
from trivet.rows.sources import Source

#: Rows in a span: half of a row group that was written with pyarrow's default size.
SPAN_ROWS = 2**19
#: The most pieces that a row group is cut into: each is read from the start of the group.
MOST_PIECES = 4


def columns(source: Source, stream: BinaryIO, delimiter: str | None) -> TableFile:
    """The columns, and the number of rows."""
    about = pa.parquet.read_metadata(stream)
    return typed_file(source, about.schema.to_arrow_schema(), about.num_rows)


def cut(file: TableFile, stream: BinaryIO) -> Iterator[Span]:
    """Ranges of rows: of several small row groups, or of a piece of a large one."""
    about = pa.parquet.read_metadata(stream)
    groups = map(about.row_group, range(about.num_row_groups))
    for start, length in _ranges((group.num_rows, group.total_byte_size) for group in groups):
        weight = file.source.size * length // about.num_rows
        yield Span(start, length, start + 1, weight)


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span, which may start and end within a row group."""
    return read_batches(file, span, wanted, partial(_batches, span))


def _ranges(groups: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The start and length of each range; ``groups`` are the rows and bytes of each row group."""
    start = length = size = 0
    for rows, its_size in groups:
        pieces = max(1, min(-(-rows // SPAN_ROWS), MOST_PIECES))
        for piece in range(pieces):
            more = rows * (piece + 1) // pieces - rows * piece // pieces
            if length and (length + more > SPAN_ROWS or size >= text.SPAN_BYTES):
                yield start, length
                start, length, size = start + length, 0, 0
            length, size = length + more, size + its_size // pieces
    if length:
        yield start, length


def _batches(span: Span, stream: Any, names: list[str], most: int) -> Iterator[pa.RecordBatch]:
    """The rows of a span, from the row groups that it touches."""
    file = pa.parquet.ParquetFile(stream)
    counts = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    ends = np.cumsum(counts).tolist()
    last = file.metadata.num_rows if span.length is None else span.start + span.length
    groups = [at for at, end in enumerate(ends) if end > span.start and end - counts[at] < last]
    position = ends[groups[0]] - counts[groups[0]] if groups else 0
    for batch in file.iter_batches(most, groups, names, use_threads=False):
        skipped = min(max(span.start - position, 0), batch.num_rows)
        if skipped < batch.num_rows:
            yield batch.slice(skipped, last - position - skipped)
        position += batch.num_rows
        if position >= last:
            return
