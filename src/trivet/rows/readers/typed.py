"""What the readers of files whose columns have types share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from trivet.rows.columns import python_values
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted, table_chunks

#: So many cells are read at once, of no more than so many bytes.
CHUNK_CELLS, CHUNK_BYTES = 2**19, 16 * 2**20
#: A file does not say how large its rows are: so many are looked at.
SAMPLED_ROWS = 256
#: What pandas calls the column of its row labels, when they have no name.
PANDAS_INDEX = re.compile(r"__index_level_\d+__")

#: Reads batches of these columns from a stream, about so many rows at a time.
Batches = Callable[[Any, list[str], int], Iterator[pa.RecordBatch]]


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A file's columns and their types as they are read: without pandas' row labels."""
    fields = [field for field in schema if not PANDAS_INDEX.fullmatch(field.name)]
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in fields])


def read_batches(file: TableFile, span: Span, wanted: Wanted, batches: Batches) -> Iterator[Chunk]:
    """The rows of a span, chunk by chunk."""
    names = [
        name for name in file.schema.names if name in wanted.carried.names or wanted.takes(name)
    ]
    schema = pa.schema([file.schema.field(name) for name in names])
    line = span.line
    with file.source.open() as stream:
        most = wanted.chunk_rows or _rows_at_once(batches, stream, schema)
        for table in _tables(batches, stream, schema, most):
            place = partial(_place, table, line)
            yield from table_chunks(table, wanted, place, stream.tell(), most=_fitting(table))
            line += table.num_rows


def _rows_at_once(batches: Batches, stream: Any, schema: pa.Schema) -> int:
    """How many rows make a chunk, judged by the first ones of a span."""
    cells = max(CHUNK_CELLS // max(len(schema), 1), 1)
    for table in _tables(batches, stream, schema, min(SAMPLED_ROWS, cells)):
        stream.seek(0)
        return min(cells, _fitting(table))
    return cells


def _fitting(table: pa.Table) -> int:
    """How many rows like those of a table hold no more than `CHUNK_BYTES`."""
    return max(CHUNK_BYTES * int(table.num_rows) // max(int(table.nbytes), 1), 1)


def _tables(batches: Batches, stream: Any, schema: pa.Schema, most: int) -> Iterator[pa.Table]:
    """The rows of a span, at most so many at a time."""
    for batch in batches(stream, schema.names, most):
        for start in range(0, batch.num_rows, most):
            some = pa.Table.from_batches([batch.slice(start, most)])
            yield some.select(schema.names).cast(schema)


def _place(table: pa.Table, line: int, row: int) -> tuple[int, bytes]:
    some = table.slice(row, 1).combine_chunks()
    record = {name: python_values(some[name].chunk(0))[0] for name in some.column_names}
    return line + row, json.dumps(record, default=str, ensure_ascii=False).encode()


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):  # a pandas categorical: its values are what it says
        kind = kind.value_type
    return pa.string() if pa.types.is_string_view(kind) else kind
