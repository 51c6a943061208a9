"""What the readers of all formats take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa

from trivet.rows.arrays import Mask
from trivet.rows.columns import Cells
from trivet.rows.contract import Kind
from trivet.rows.rejects import Reject
from trivet.rows.sources import Source
from trivet.rows.text import Layout

#: The line that a row starts in, and the row's raw bytes.
Place = Callable[[int], tuple[int, bytes]]


@dataclass(frozen=True)
class TableFile:
    """A source and its columns; rows of text start at a byte, in a line that has a number.

    ``rows`` is how many the file says it has, which Parquet alone does. A file that is not
    ``complete`` may have columns that were not seen yet, as JSON Lines do.
    """

    source: Source
    schema: pa.Schema
    layout: Layout = field(default_factory=Layout)
    start: int = 0
    line: int = 1
    rows: int | None = None
    complete: bool = True

    @property
    def unit(self) -> str:
        """What the number of a row counts: lines of text, else rows."""
        return "line" if self.source.format in ("csv", "jsonl") else "row"


@dataclass(frozen=True)
class Span:
    """A range of a file: from ``start``, ``length`` bytes of text, rows of Parquet, or batches.

    ``length`` None is all that follows. ``line`` is the number of its first line, or row, and
    ``weight`` its share of the file in bytes. A compressed file can't be entered midway, so its
    spans hold their ``content``.
    """

    start: int
    length: int | None
    line: int
    weight: int
    content: bytes | None = None


@dataclass(frozen=True)
class Wanted:
    """What to read of a file: ``features``, with their kinds, and columns to carry as they are.

    Without ``features``, every column is read as it is, but those that are ``skipped``.
    ``chunk_rows`` bounds the rows of a chunk; without it, its bytes or cells are bounded.
    """

    features: Mapping[str, Kind] | None = None
    carried: pa.Schema = field(default_factory=lambda: pa.schema([]))
    skipped: frozenset[str] = frozenset()
    chunk_rows: int | None = None

    def takes(self, name: str) -> bool:
        """Whether a column is to be read, other than to be carried."""
        return name not in self.skipped if self.features is None else name in self.features


@dataclass(frozen=True)
class Chunk:
    """Some rows: their cells by column, and the columns to carry of the same rows.

    ``place`` tells where a row stood. ``rejects`` are records that could not become rows at all.
    ``late`` are columns that nobody knew of before, whose cells are not here. ``position`` is how
    many bytes of the file, or of the span's content, have been read so far.
    """

    rows: int
    cells: Mapping[str, Cells]
    carried: pa.Table
    place: Place
    rejects: Sequence[Reject] = ()
    late: frozenset[str] = frozenset()
    position: int = 0


def only(table: pa.Table, place: Place, good: Mask) -> tuple[pa.Table, Place]:
    """The good rows of a table, (rows,), and where they stood."""
    if good.all():
        return table, place
    positions = np.flatnonzero(good)
    rows = table.filter(pa.array(good)) if table.columns else table
    return rows, lambda row: place(int(positions[row]))


def table_chunks(
    table: pa.Table,
    wanted: Wanted,
    place: Place,
    position: int,
    rejects: Sequence[Reject] = (),
    most: int = 0,
) -> Iterator[Chunk]:
    """The rows of a table, ``most`` at a time if that is not 0; the rejects go with the first."""
    size = wanted.chunk_rows or most or max(table.num_rows, 1)
    taken = [name for name in table.column_names if wanted.takes(name)]
    for start in range(0, max(table.num_rows, 1), size):
        some = table.slice(start, size)
        yield Chunk(
            some.num_rows,
            {name: some.column(name) for name in taken},
            _carried(some, wanted.carried),
            partial(_later, place, start),
            () if start else rejects,
            position=position,
        )


def _carried(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns to carry; one that only other files have is empty."""
    columns = [
        table.column(column.name).cast(column.type)  # a column without values may have none
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def _later(place: Place, start: int, row: int) -> tuple[int, bytes]:
    return place(start + row)
