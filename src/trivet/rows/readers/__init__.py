"""Readers of files of rows, one module per format, with the same three verbs for train and batch.

May import `trivet.rows` and what is below it. Cannot be deleted.

======================  ==========================================================================
``columns``             finds the columns of a file before any row is read
``cut``                 cuts a file into spans that can be read separately
``read``                reads the rows of a span, chunk by chunk
======================  ==========================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from trivet.errors import TableError
from trivet.rows.readers import arrow, csv, jsonl, parquet
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted
from trivet.rows.sources import Source

FORMATS = {"csv": csv, "jsonl": jsonl, "parquet": parquet, "arrow": arrow}


def columns(source: Source, delimiter: str | None = None) -> TableFile:
    """The file with its columns; raises `TableError` if it has none, or two with the same name.

    ``delimiter`` separates the cells of a CSV; by default a comma, or in a .tsv a tab.
    """
    with source.open() as stream:
        file: TableFile = FORMATS[source.format].columns(source, stream, delimiter)
    repeated = [name for name, count in Counter(file.schema.names).items() if count > 1]
    if repeated:
        raise TableError(
            f"{source.name}: column {repeated[0]!r} appears twice; rename one of the two"
        )
    return file


def cut(file: TableFile) -> Iterator[Span]:
    """All spans of a file, in order. The same file is always cut in the same places."""
    with file.source.open() as stream:
        yield from FORMATS[file.source.format].cut(file, stream)


def whole(file: TableFile) -> Span:
    """A whole file as one span."""
    return Span(file.start, None, file.line, file.source.size)


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span, in order; raises `TableError` if it cannot be read."""
    try:
        for chunk in FORMATS[file.source.format].read(file, span, wanted):
            yield from chunk.split(wanted.chunk_rows) if wanted.chunk_rows else (chunk,)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise TableError(
            f"{file.source.name}: can't be read from row {span.line:,} on: {reason}"
        ) from error
