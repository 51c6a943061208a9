"""What the readers of files with typed columns share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from trivet.rows.columns import python_values
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted, chunk_of
from trivet.rows.sources import Source

#: The most cells, and bytes, that are read at once.
CHUNK_CELLS, CHUNK_BYTES = 2**19, 16 * 2**20
#: A file does not say how large its rows are in memory, so this many are measured.
SAMPLED_ROWS = 256
#: What pandas calls the column of row labels that have no name.
PANDAS_INDEX = re.compile(r"__index_level_\d+__")

#: Reads the named columns from a stream, in batches of about so many rows.
Batches = Callable[[Any, list[str], int], Iterator[pa.RecordBatch]]


def typed_file(source: Source, schema: pa.Schema, rows: int | None = None) -> TableFile:
    """A file with its columns, without pandas' row labels."""
    fields = [field for field in schema if not PANDAS_INDEX.fullmatch(field.name)]
    coded = {
        field.name: pa.dictionary(pa.int32(), _plain(field.type), field.type.ordered)
        for field in fields
        if pa.types.is_dictionary(field.type)
    }
    plain = pa.schema([pa.field(field.name, _plain(field.type)) for field in fields])
    return TableFile(source, plain, rows=rows, coded=coded)


def read_batches(file: TableFile, span: Span, wanted: Wanted, batches: Batches) -> Iterator[Chunk]:
    """The rows of a span, chunk by chunk."""
    fields = {field.name: field for field in file.schema if wanted.reads(field.name)}
    fields |= {field.name: field for field in wanted.carried if field.name in file.coded}
    schema = pa.schema(fields.values())
    line = span.line
    with file.source.open() as stream:
        most = wanted.chunk_rows
        if most is None:
            most = _rows_at_once(batches(stream, schema.names, SAMPLED_ROWS), schema)
            stream.seek(0)
        for table in _tables(batches(stream, schema.names, most), schema, most):
            yield chunk_of(table, wanted, partial(_place, table, line), stream.tell())
            line += table.num_rows


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if pa.types.is_string_view(kind) else kind


def _rows_at_once(sample: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """How many rows to read at once, judging by the first rows of a span."""
    most = max(CHUNK_CELLS // max(len(schema), 1), 1)
    for table in _tables(sample, schema, SAMPLED_ROWS):
        return min(most, _fitting(table))
    return most


def _fitting(rows: pa.Table | pa.RecordBatch) -> int:
    """How many rows of this size fit into `CHUNK_BYTES`."""
    return max(CHUNK_BYTES * int(rows.num_rows) // max(int(rows.nbytes), 1), 1)


def _tables(batches: Iterable[pa.RecordBatch], schema: pa.Schema, most: int) -> Iterator[pa.Table]:
    """The rows of some batches, at most ``most`` at a time, fewer if they are large."""
    for batch in batches:
        size = min(most, _fitting(batch))
        for start in range(0, batch.num_rows, size):
            rows = pa.Table.from_batches([batch.slice(start, size)])
            yield rows.select(schema.names).cast(schema)


def _place(table: pa.Table, line: int, row: int) -> tuple[int, bytes]:
    some = table.slice(row, 1).combine_chunks()
    record = {name: python_values(some[name].chunk(0))[0] for name in some.column_names}
    return line + row, json.dumps(record, default=str, ensure_ascii=False).encode()
