"""Blocks of CSV as tables: parsed whole, or record by record where something in them is no row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pyarrow as pa
import pyarrow.csv

from trivet.rows.contract import Column
from trivet.rows.text import Layout, Reject, records

#: The line that a row started in, and the row as it stood.
Place = Callable[[int], tuple[int, bytes]]


class CsvParser:
    """Parses blocks of one file, whose columns have ``names``.

    It reads features as what their contract says they are, and the columns to carry as text.
    """

    def __init__(
        self,
        names: Sequence[str],
        layout: Layout,
        features: Sequence[Column],
        carried: Sequence[str],
    ) -> None:
        self._names, self._layout = list(names), layout
        kinds = {column.name: _arrow_type(column) for column in features}
        kinds |= dict.fromkeys(carried, pa.string())
        self._types = {name: kinds[name] for name in names if name in kinds}

    def parse(self, block: bytes, line: int) -> tuple[pa.Table, Place, list[Reject]]:
        """The rows of a block that starts in a ``line``, their places, and what is no row."""

        @cache
        def found() -> tuple[list[tuple[int, bytes]], list[Reject]]:
            return self._sort_out(block, line)

        def place(row: int) -> tuple[int, bytes]:
            return found()[0][row]

        try:
            return self._table(block), place, []
        except pa.ArrowInvalid:
            rows, rejects = found()
            return self._table(b"".join(raw for _, raw in rows)), place, rejects

    def _table(self, text: bytes) -> pa.Table:
        try:
            return self._parse(text, self._types)
        except pa.ArrowInvalid:  # perhaps no more than a word where a number belongs
            table = self._parse(text, dict.fromkeys(self._types, pa.string()))
        # As text from here on: what one block has, the next is likely to have, too.
        self._types = dict.fromkeys(self._types, pa.string())
        return table

    def _parse(self, text: bytes, types: dict[str, pa.DataType]) -> pa.Table:
        if not text:
            return pa.table({name: pa.array([], kind) for name, kind in types.items()})
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
        """The lines and bytes of the records that are rows, and the records that are none."""
        rows: list[tuple[int, bytes]] = []
        rejects: list[Reject] = []
        width = len(self._names)
        for record in records(block, line, self._layout):
            if not record.cells and width > 1:
                continue  # a blank line; of one column, it is an empty cell
            cells = record.cells or [""]
            if len(cells) != width:
                reason = "too few cells" if len(cells) < width else "too many cells"
                rejects.append(Reject(record.line, "", reason, record.raw))
            elif unreadable := [at for at, cell in enumerate(cells) if not _is_utf8(cell)]:
                column = self._names[unreadable[0]]
                rejects.append(Reject(record.line, column, "not UTF-8", record.raw))
            else:
                rows.append((record.line, record.raw))
        return rows, rejects


def _arrow_type(column: Column) -> pa.DataType:
    if column.kind in ("number", "integer"):
        return pa.float64()
    return pa.dictionary(pa.int32(), pa.string())


def _is_utf8(cell: str) -> bool:
    """Whether a cell's bytes, kept as Latin-1, are UTF-8."""
    try:
        cell.isascii() or cell.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True
