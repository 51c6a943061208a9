"""Files of rows, a module for each format; train and batch read them with the same verbs.

May import `trivet.rows` and what is below it. Can't be deleted as a whole.

======================  ==========================================================================
``columns``             which columns a file has, found before any row is read
``cut``                 where a file can be cut, so that its spans can be read apart
``read``                the rows of a span, chunk by chunk
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
    """The file with its columns; raises `TableError` where there are none, or two of one name.

    ``delimiter`` separates the cells of a CSV; by default a comma, or in a .tsv a tab.
    """
    with source.open() as stream:
        file: TableFile = FORMATS[source.format].columns(
            source, stream, delimiter or source.delimiter
        )
    repeated = [name for name, count in Counter(file.schema.names).items() if count > 1]
    if repeated:
        raise TableError(
            f"{source.name}: column {repeated[0]!r} appears twice; rename one of the two"
        )
    return file


def cut(file: TableFile) -> Iterator[Span]:
    """All spans of a file, in order; where it is cut depends on the file alone."""
    with file.source.open() as stream:
        yield from FORMATS[file.source.format].cut(file, stream)


def whole(file: TableFile) -> Span:
    """A file as one span, which is read in one pass."""
    return Span(file.start, None, file.line, file.source.size)


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span, in order; raises `TableError` where it can't be read."""
    try:
        yield from FORMATS[file.source.format].read(file, span, wanted)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise TableError(
            f"{file.source.name}: can't be read from row {span.line:,} on: {reason}"
        ) from error
