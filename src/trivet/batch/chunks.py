"""A part read chunk by chunk: rows of floats, the columns to carry beside them, and what is unfit.

Types come from the contract, never from a guess.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from trivet.batch.inputs import open_arrow, text_schema
from trivet.batch.parts import Part
from trivet.errors import TableError
from trivet.rows.arrays import Rows
from trivet.rows.columns import encode_cells, python_values
from trivet.rows.contract import Contract
from trivet.rows.readers.csv import CsvParser, Place
from trivet.rows.text import Reject, blocks
from trivet.rows.values import cell_encoder

#: So many bytes of text are parsed at once.
BLOCK_BYTES = 4 * 2**20
#: Of columns that have types, so many cells are read at once, of no more than so many bytes.
CHUNK_CELLS, CHUNK_BYTES = 2**19, 16 * 2**20
#: Parquet does not say how large its rows are: so many are looked at.
SAMPLED_ROWS = 256


@dataclass(frozen=True)
class Chunk:
    """Rows of a part: encoded, (rows x features), and infinite where a cell is unfit.

    ``carried`` has the columns to carry of the same rows; ``place`` tells where they stood.
    ``rejects`` are records that could not become rows at all.
    """

    rows: Rows
    carried: pa.Table
    place: Place
    rejects: Sequence[Reject] = ()

    def only(self, good: NDArray[np.bool_]) -> Chunk:
        """The rows that are good, (rows,)."""
        if good.all():
            return self
        positions, place = np.flatnonzero(good), self.place
        return Chunk(
            self.rows[good],
            self.carried.filter(pa.array(good)) if self.carried.columns else self.carried,
            lambda row: place(int(positions[row])),
            self.rejects,
        )


@dataclass(frozen=True)
class Reader:
    """Reads the features of a contract, and the columns to carry, from parts of inputs.

    ``schema`` is that of the columns to carry. ``chunk_rows`` bounds the rows of a chunk; without
    it, its bytes or cells are bounded.
    """

    contract: Contract
    schema: pa.Schema
    chunk_rows: int | None = None

    def chunks(self, part: Part) -> Iterator[Chunk]:
        """The rows of a part, in order; raises `TableError` where it can't be read."""
        read = {"csv": self._csv, "jsonl": self._jsonl}.get(part.file.source.format, self._typed)
        try:
            yield from read(part)
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())
            raise TableError(
                f"{part.file.source.name}: can't be read from row {part.line:,} on: {reason}"
            ) from error

    def _csv(self, part: Part) -> Iterator[Chunk]:
        names, features = part.file.schema.names, self.contract.columns
        parser = CsvParser(names, part.file.layout, features, self.schema.names)
        for block, line in _text_blocks(part):
            table, place, rejects = parser.parse(block, line)
            yield from self._table_chunks(table, place, rejects)

    def _jsonl(self, part: Part) -> Iterator[Chunk]:
        known = {*part.file.schema.names, *self.contract.known_names}
        encoders = [
            (column.name, cell_encoder(column, lambda value: value))
            for column in self.contract.columns
        ]
        for block, first in _text_blocks(part):
            taken: list[tuple[int, bytes]] = []
            rejects: list[Reject] = []
            rows: list[list[float]] = []
            texts: list[list[str | None]] = []
            for line, raw in enumerate(block.split(b"\n"), first):
                if not raw.strip():
                    continue
                record, unfit = _json_record(raw, known)
                if unfit:
                    rejects.append(Reject(line, *unfit, raw))
                    continue
                taken.append((line, raw))
                rows.append([encode(record.get(name)) for name, encode in encoders])
                texts.append(_json_texts(raw, record, self.schema.names))
            for start in range(0, max(len(rows), 1), self.chunk_rows or BLOCK_BYTES):
                some = slice(start, start + (self.chunk_rows or BLOCK_BYTES))
                yield Chunk(
                    np.array(rows[some], dtype=np.float64).reshape(-1, len(encoders)),
                    _text_table(self.schema.names, texts[some]),
                    taken[some].__getitem__,
                    () if start else rejects,
                )

    def _typed(self, part: Part) -> Iterator[Chunk]:
        """The rows of a Parquet or Arrow file, whose columns have types of their own."""
        line = part.line
        names = [
            name
            for name in part.file.schema.names
            if name in self.schema.names or name in self.contract.feature_names
        ]
        schema = pa.schema([part.file.schema.field(name) for name in names])
        with part.file.source.open() as stream:
            most = self.chunk_rows or _rows_at_once(part, stream, schema)
            for table in _tables(part, stream, schema, most):
                size = self.chunk_rows or _fitting(table)
                place = partial(_typed_row, table, line)
                yield from self._table_chunks(table, place, (), size)
                line += table.num_rows

    def _table_chunks(
        self, table: pa.Table, place: Place, rejects: Sequence[Reject], most: int | None = None
    ) -> Iterator[Chunk]:
        size = most or self.chunk_rows or max(table.num_rows, 1)
        for start in range(0, max(table.num_rows, 1), size):
            some = table.slice(start, size)
            yield Chunk(
                self._encode(some),
                self._carried(some),
                partial(_later, place, start),
                () if start else rejects,
            )

    def _carried(self, table: pa.Table) -> pa.Table:
        """The columns to carry along; one that only other inputs have is empty."""
        columns = [
            table.column(column.name)
            if column.name in table.column_names
            else pa.nulls(table.num_rows, column.type)
            for column in self.schema
        ]
        return pa.table(columns, schema=self.schema)

    def _encode(self, table: pa.Table) -> Rows:
        rows = np.full((table.num_rows, len(self.contract.columns)), np.nan, order="F")
        for position, column in enumerate(self.contract.columns):
            if column.name in table.column_names:
                rows[:, position] = encode_cells(table.column(column.name), column)
        return rows


def _later(place: Place, start: int, row: int) -> tuple[int, bytes]:
    return place(start + row)


def _text_blocks(part: Part) -> Iterator[tuple[bytes, int]]:
    """Blocks of a part's text, with the number of the line that each starts in."""
    line, layout = part.line, part.file.layout
    with _text(part) as stream:
        for block in blocks(stream, part.length, BLOCK_BYTES, layout):
            yield block, line
            line += layout.lines(block)


@contextmanager
def _text(part: Part) -> Iterator[Any]:
    if part.content is not None:
        yield io.BytesIO(part.content)
        return
    with part.file.source.open() as stream:
        stream.seek(part.start)
        yield stream


def _rows_at_once(part: Part, stream: Any, schema: pa.Schema) -> int:
    """How many rows make a chunk, judged by the first ones of a part."""
    cells = max(CHUNK_CELLS // max(len(schema), 1), 1)
    for table in _tables(part, stream, schema, min(SAMPLED_ROWS, cells)):
        stream.seek(0)
        return min(cells, _fitting(table))
    return cells


def _fitting(table: pa.Table) -> int:
    """How many rows like those of a table hold no more than `CHUNK_BYTES`."""
    return max(CHUNK_BYTES * int(table.num_rows) // max(int(table.nbytes), 1), 1)


def _tables(part: Part, stream: Any, schema: pa.Schema, most: int) -> Iterator[pa.Table]:
    """The rows of a part that have types, so many at a time at the most."""
    for batch in _batches(part, stream, schema.names, most):
        for start in range(0, batch.num_rows, most):
            some = pa.Table.from_batches([batch.slice(start, most)])
            yield some.select(schema.names).cast(schema)


def _batches(part: Part, stream: Any, names: list[str], most: int) -> Iterator[pa.RecordBatch]:
    if part.file.source.format == "parquet":
        yield from _parquet_rows(pa.parquet.ParquetFile(stream), part, names, most)
        return
    reader = open_arrow(stream)
    is_stream = isinstance(reader, pa.ipc.RecordBatchStreamReader)
    numbers = range(part.start, part.start + part.length)
    yield from reader if is_stream else map(reader.get_batch, numbers)


def _parquet_rows(file: Any, part: Part, names: list[str], most: int) -> Iterator[pa.RecordBatch]:
    """The rows of a part, which may start and end within a row group."""
    counts = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
    ends = np.cumsum(counts)
    first = int(np.searchsorted(ends, part.start, side="right"))
    last = int(np.searchsorted(ends, part.start + part.length))
    skip = part.start - int(ends[first] - counts[first])
    left = part.length
    groups = list(range(first, last + 1))
    for batch in file.iter_batches(most, groups, names, use_threads=False):
        rows = batch.slice(min(skip, batch.num_rows), left)
        skip, left = max(skip - batch.num_rows, 0), left - rows.num_rows
        if rows.num_rows:
            yield rows
        if not left:
            return


def _typed_row(table: pa.Table, line: int, row: int) -> tuple[int, bytes]:
    some = table.slice(row, 1).combine_chunks()
    record = {name: python_values(some[name].chunk(0))[0] for name in some.column_names}
    return line + row, json.dumps(record, default=str, ensure_ascii=False).encode()


def _json_record(raw: bytes, known: set[str]) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """A line's object; or, where it is none that can be a row, the field and the reason."""
    try:
        record = json.loads(raw.decode())
        if b"\\u" in raw:  # which may be half of a character
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeError:
        return {}, ("", "not UTF-8")
    except (ValueError, RecursionError):
        return {}, ("", "not JSON")
    if not isinstance(record, dict):
        return {}, ("", "not a JSON object")
    if unknown := record.keys() - known:
        return {}, (min(unknown), "unknown field")
    return record, None


def _json_texts(raw: bytes, record: dict[str, Any], names: Iterable[str]) -> list[str | None]:
    """The fields to carry along; a number as it was written."""
    values = {name: record.get(name) for name in names}
    if any(isinstance(value, float) for value in values.values()):
        written = json.loads(raw, parse_float=str, parse_constant=str)
        values |= {name: written[name] for name in names if isinstance(values[name], float)}
    return [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in values.values()
    ]


def _text_table(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    arrays = [pa.array(values, pa.string()) for values in columns]
    return pa.table(arrays, text_schema(names))
