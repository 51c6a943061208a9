"""The values that go into and come out of the readers of every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from trivet.rows.columns import Cells
from trivet.rows.contract import Kind
from trivet.rows.rejects import Reject
from trivet.rows.sources import Source
from trivet.rows.text import Layout

#: Gives the line that a row of a chunk starts on, and its raw bytes.
Place = Callable[[int], tuple[int, bytes]]


@dataclass(frozen=True)
class TableFile:
    """A source and its columns. The rows of a text file start at byte ``start``, on ``line``.

    ``schema`` has the types of values; ``coded`` those of columns that hold them as dictionaries.
    ``rows`` is known for Parquet alone. A file that is not ``complete`` may have further columns:
    only the beginning of a JSON Lines file is searched for them.
    """

    source: Source
    schema: pa.Schema
    layout: Layout = field(default_factory=Layout)
    start: int = 0
    line: int = 1
    rows: int | None = None
    complete: bool = True
    coded: Mapping[str, pa.DataType] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """What positions in the file are called: lines of text, or else rows."""
        return "line" if self.source.format in ("csv", "jsonl") else "row"


@dataclass(frozen=True)
class Span:
    """A range of a file: ``length`` bytes of text, rows of Parquet, or Arrow batches.

    A ``length`` of None means all that follows ``start``. ``line`` is the number of the first line,
    or row, and ``weight`` the share of the file in bytes. Nothing can seek in a compressed file, so
    its spans hold their ``content``.
    """

    start: int
    length: int | None
    line: int
    weight: int
    content: bytes | None = None


@dataclass(frozen=True)
class Wanted:
    """What to read: ``features`` by name with their cells' kinds, and columns to carry unchanged.

    Without ``features``, all columns are read as they are, except those that are ``skipped``.
    ``chunk_rows`` limits the rows of a chunk; by default, its bytes are limited.
    """

    features: Mapping[str, Kind] | None = None
    carried: pa.Schema = field(default_factory=lambda: pa.schema([]))
    skipped: frozenset[str] = frozenset()
    chunk_rows: int | None = None

    def takes(self, name: str) -> bool:
        """Whether a column belongs in the cells of a chunk."""
        return name not in self.skipped if self.features is None else name in self.features

    def reads(self, name: str) -> bool:
        """Whether a column is read at all."""
        return name in self.carried.names or self.takes(name)


@dataclass(frozen=True)
class Chunk:
    """Some rows: their cells by column, and the columns that are carried along.

    ``place`` finds a row in the file. ``rejects`` are records that are not valid rows. ``late``
    names columns that were found only now, and are not in the chunk. ``position`` is how many bytes
    of the file, or of the span's content, have been read.
    """

    rows: int
    cells: Mapping[str, Cells]
    carried: pa.Table
    place: Place
    rejects: Sequence[Reject] = ()
    late: frozenset[str] = frozenset()
    position: int = 0

    def split(self, most: int) -> Iterator[Chunk]:
        """The same rows, ``most`` at a time; the rejects go with the first."""
        for start in range(0, max(self.rows, 1), most):
            yield replace(
                self,
                rows=min(most, self.rows - start),
                cells={name: cells[start : start + most] for name, cells in self.cells.items()},
                carried=self.carried.slice(start, most),
                place=partial(_shifted, self.place, start),
                rejects=() if start else self.rejects,
            )


def chunk_of(
    table: pa.Table, wanted: Wanted, place: Place, position: int, rejects: Sequence[Reject] = ()
) -> Chunk:
    """The rows of a table as a chunk."""
    cells = {name: table.column(name) for name in table.column_names if wanted.takes(name)}
    carried = _carried(table, wanted.carried)
    return Chunk(table.num_rows, cells, carried, place, rejects, position=position)


def _carried(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns to carry along; empty where the table has no such column, or no type for it."""
    columns = [
        table.column(column.name).cast(column.type)
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def _shifted(place: Place, start: int, row: int) -> tuple[int, bytes]:
    return place(start + row)
