"""CSV: parsed by Arrow, block by block; a block that Arrow refuses is split into rows here."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from functools import cache, partial
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from trivet.errors import TableError
from trivet.rows.contract import Kind
from trivet.rows.readers.table import Chunk, Place, Span, TableFile, Wanted, chunk_of
from trivet.rows.readers.text import BEGINNING, beginning_of, cut, text_blocks, text_schema
from trivet.rows.rejects import NOT_UTF8, Reject
from trivet.rows.sources import Source
from trivet.rows.text import Layout, RawRow, raw_rows

#: What separates cells in files that are called CSV.
DELIMITERS = ",;\t|"

__all__ = ["columns", "cut", "read"]


def columns(source: Source, stream: BinaryIO, delimiter: str | None) -> TableFile:
    """The columns that the header names, all of them text, and where the rows start."""
    delimiter = delimiter or source.delimiter
    beginning = beginning_of(source, source.decompressed(stream))
    start = len(BOM_UTF8) if beginning.startswith(BOM_UTF8) else 0
    for header in raw_rows(beginning[start:], 1, Layout(delimiter)):
        start += len(header.raw)
        if header.cells:
            break
    else:
        raise TableError(f"{source.name}: is empty; a CSV file starts with the columns' names")
    if start == BEGINNING:
        raise TableError(f"{source.name}: the header does not end; is it a CSV file?")
    layout = Layout(delimiter, b"\r" if header.raw.endswith(b"\r") else b"\n")
    line = 1 + layout.lines(beginning[:start])
    return TableFile(source, text_schema(_names(source, header)), layout, start, line)


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span."""
    parser = _Parser(file, wanted)
    for block, line, position in text_blocks(file, span):
        table, place, rejects = parser.parse(block, line)
        yield chunk_of(table, wanted, place, position, rejects)


def _names(source: Source, header: RawRow) -> list[str]:
    try:
        names = [cell.encode("latin-1").decode() for cell in header.cells]
    except UnicodeDecodeError as error:
        raise TableError(f"{source.name}: its header is not UTF-8; save it as UTF-8") from error
    if len(names) == 1 and b'"' not in header.raw:
        for other in DELIMITERS:
            if other in names[0]:
                shown = "\\t" if other == "\t" else other
                raise TableError(
                    f"{source.name}: has one column named {names[0]!r}: try --delimiter "
                    f"'{shown}', or put the name in quotes if it is the only one"
                )
    return names


class _Parser:
    """Parses the blocks of a span: features by their kinds, all other columns as text."""

    def __init__(self, file: TableFile, wanted: Wanted) -> None:
        self._names, self._layout = list(file.schema.names), file.layout
        kinds = wanted.features or {}
        self._types = {
            name: pa.string() if name in wanted.carried.names else _arrow_type(kinds.get(name))
            for name in self._names
            if wanted.reads(name)
        }

    def parse(self, block: bytes, line: int) -> tuple[pa.Table, Place, list[Reject]]:
        """The rows of a block that starts on ``line``, their places, and the rejected records."""
        sorted_out = cache(partial(self._sort_out, block, line))  # slow, and seldom needed
        try:
            return self._table(block), lambda row: sorted_out()[0][row], []
        except pa.ArrowInvalid:
            rows, rejects = sorted_out()
            return self._table(b"".join(raw for _, raw in rows)), rows.__getitem__, rejects

    def _table(self, text: bytes) -> pa.Table:
        try:
            return self._parse(text, self._types)
        except pa.ArrowInvalid:  # there may be no more wrong than a word in place of a number
            as_text = dict.fromkeys(self._types, pa.string())
            table = self._parse(text, as_text)
        self._types = as_text  # the blocks to come are likely to have such words, too
        return table

    def _parse(self, text: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        if not text:
            return pa.schema(types.items()).empty_table()
        return pa.csv.read_csv(
            pa.BufferReader(text),
            pa.csv.ReadOptions(
                column_names=self._names, use_threads=False, block_size=len(text) + 1
            ),
            pa.csv.ParseOptions(
                delimiter=self._layout.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=len(self._names) > 1,
            ),
            pa.csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def _sort_out(self, block: bytes, line: int) -> tuple[list[tuple[int, bytes]], list[Reject]]:
        """The line and the bytes of each valid row, and the records that are not valid rows."""
        rows: list[tuple[int, bytes]] = []
        rejects: list[Reject] = []
        width = len(self._names)
        for row in raw_rows(block, line, self._layout):
            if not row.cells and width > 1:
                continue  # a blank line; in a table of one column, it is an empty cell
            cells = row.cells or [""]
            if len(cells) != width:
                reason = "too few cells" if len(cells) < width else "too many cells"
                rejects.append(Reject(row.line, "", reason, row.raw))
            elif unreadable := [at for at, cell in enumerate(cells) if not _is_utf8(cell)]:
                column = self._names[unreadable[0]]
                rejects.append(Reject(row.line, column, NOT_UTF8, row.raw))
            else:
                rows.append((row.line, row.raw))
        return rows, rejects


def _arrow_type(kind: Kind | None) -> pa.DataType:
    """The type that cells are parsed as; text if the kind is not known yet."""
    if kind in ("number", "integer"):
        return pa.float64()
    return pa.string() if kind is None else pa.dictionary(pa.int32(), pa.string())


def _is_utf8(cell: str) -> bool:
    """Whether the bytes of a cell, which was decoded as Latin-1, are UTF-8."""
    try:
        cell.isascii() or cell.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True
