"""JSON Lines: an object a line; its columns are those that any line has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO

import pyarrow as pa

from trivet.errors import TableError, nearest
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted
from trivet.rows.readers.text import beginning_of, cut, text_blocks, text_schema
from trivet.rows.rejects import NOT_UTF8, Reject
from trivet.rows.sources import Source
from trivet.rows.text import BOM, LONGEST, Layout, read_fully

__all__ = ["columns", "cut", "read"]


def columns(source: Source, stream: BinaryIO, delimiter: str) -> TableFile:
    """The columns that occur in the beginning; others may come later."""
    lines = source.decompressed(stream)
    beginning = beginning_of(source, lines)
    names = _names_in(beginning)
    if not names:  # the first record may be longer than the beginning
        beginning += read_fully(lines, LONGEST)
        names = _names_in(beginning)
    if not names:
        raise TableError(f"{source.name}: holds no row; each line should be a JSON object")
    start = len(BOM) if beginning.startswith(BOM) else 0
    schema = text_schema(names)
    complete = not lines.read(1)
    return TableFile(source, schema, Layout(quoted=False), start, complete=complete)


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span; a cell that is not to be carried is its JSON value."""
    fields = _Fields(file, wanted)
    for block, first, position in text_blocks(file, span):
        rejects: list[Reject] = []
        records: list[tuple[int, bytes, dict[str, Any]]] = []
        late: set[str] = set()
        for line, raw in enumerate(block.split(b"\n"), first):
            if not raw.strip():
                continue
            try:
                record = _record(raw)
                late |= fields.unknown_in(record)
                records.append((line, raw, record))
            except _NoRowError as error:
                rejects.append(Reject(line, error.column, error.reason, raw))
        size = wanted.chunk_rows or max(len(records), 1)
        for start in range(0, max(len(records), 1), size):
            some = records[start : start + size]
            yield Chunk(
                len(some),
                fields.cells_of([record for _, _, record in some]),
                _carried(wanted.carried.names, some),
                [(line, raw) for line, raw, _ in some].__getitem__,
                () if start else rejects,
                frozenset(late),
                position,
            )


def _names_in(beginning: bytes) -> dict[str, None]:
    """The fields of the records that are whole, in the order in which they first occur."""
    names: dict[str, None] = {}
    for line in beginning.removeprefix(BOM).split(b"\n"):
        with suppress(ValueError, RecursionError):  # a row to be rejected, or cut off here
            record = json.loads(line)
            fields = record if isinstance(record, dict) else ()
            "".join(fields).encode()  # raises if one holds half a character
            names |= dict.fromkeys(fields)
    return names


class _NoRowError(Exception):
    """A line that can't be a row: the column, where one is at fault, and the reason."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


class _Fields:
    """Which fields of records are read, and which of them nobody knows."""

    def __init__(self, file: TableFile, wanted: Wanted) -> None:
        self._features = None if wanted.features is None else (*wanted.features,)
        self._known = {*file.schema.names, *wanted.carried.names, *(self._features or ())}
        self._wanted = wanted
        self._nearest = lru_cache(1000)(nearest)

    def unknown_in(self, record: dict[str, Any]) -> set[str]:
        """Fields that nobody knows of; raises `_NoRowError` for what looks like a misspelt feature.

        A feature that a record lacks is missing, so a misspelt one would be so without a word.
        """
        if self._features is None:
            return set()
        unknown = record.keys() - self._known
        if unknown:
            lacking = tuple(name for name in self._features if name not in record)
            for name in sorted(unknown):
                if meant := self._nearest(name, lacking):
                    raise _NoRowError(name, f"unknown field; did you mean {meant!r}?")
        return unknown

    def cells_of(self, records: list[dict[str, Any]]) -> dict[str, list[object]]:
        """The values by column; None where a record has none."""
        names: Iterable[str] = self._features or dict.fromkeys(
            name for record in records for name in record if self._wanted.takes(name)
        )
        return {name: [record.get(name) for record in records] for name in names}


def _record(raw: bytes) -> dict[str, Any]:
    """A line's object; raises `_NoRowError` where it is none that can be a row."""
    try:
        record = json.loads(raw.decode())
        if b"\\u" in raw:  # which may be half of a character
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeError:
        raise _NoRowError("", NOT_UTF8) from None
    except (ValueError, RecursionError):
        raise _NoRowError("", "not JSON") from None
    if not isinstance(record, dict):
        raise _NoRowError("", "not a JSON object")
    return record


def _carried(
    names: Sequence[str], records: Sequence[tuple[int, bytes, dict[str, Any]]]
) -> pa.Table:
    rows = [_texts(raw, record, names) for _, raw, record in records]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    arrays = [pa.array(values, pa.string()) for values in columns]
    return pa.table(arrays, text_schema(names))


def _texts(raw: bytes, record: dict[str, Any], names: Iterable[str]) -> list[str | None]:
    """The fields to carry; a number as it was written."""
    values = {name: record.get(name) for name in names}
    if any(isinstance(value, float) for value in values.values()):
        written = json.loads(raw, parse_float=str, parse_constant=str)
        values |= {name: written[name] for name in names if isinstance(values[name], float)}
    return [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in values.values()
    ]
