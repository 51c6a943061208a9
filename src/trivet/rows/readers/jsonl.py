"""JSON Lines: one object per line. A file's columns are the fields that any of its lines has."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO

import pyarrow as pa

from trivet.errors import TableError, nearest, shortened
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted
from trivet.rows.readers.text import beginning_of, cut, text_blocks, text_schema
from trivet.rows.rejects import NOT_UTF8, Reject
from trivet.rows.sources import Source
from trivet.rows.text import LONGEST, Layout, read_fully

__all__ = ["columns", "cut", "read"]


def columns(source: Source, stream: BinaryIO, delimiter: str | None) -> TableFile:
    """The fields in the beginning of a file; there may be others further on."""
    lines = source.decompressed(stream)
    beginning = beginning_of(source, lines)
    names = _names_in(beginning)
    if not names:  # the first record may be longer than that
        beginning += read_fully(lines, LONGEST)
        names = _names_in(beginning)
    if not names:
        raise TableError(f"{source.name}: has no rows; each line should be a JSON object")
    start = len(BOM_UTF8) if beginning.startswith(BOM_UTF8) else 0
    complete = not lines.read(1)
    return TableFile(source, text_schema(names), Layout(quoted=False), start, complete=complete)


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span. Cells are JSON values; what is carried along is text."""
    fields = _Fields(file, wanted)
    carried = text_schema(wanted.carried.names)
    for block, first, position in text_blocks(file, span):
        rows: list[tuple[int, bytes]] = []
        records: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        late: set[str] = set()
        for line, raw in enumerate(block.split(b"\n"), first):
            if not raw.strip():
                continue
            try:
                record = _record(raw)
                late |= fields.unknown_in(record)
            except _RejectedError as error:
                column, reason = error.args
                rejects.append(Reject(line, column, reason, raw))
            else:
                rows.append((line, raw))
                records.append(record)
        texts = [
            _texts(record, raw, carried.names)
            for record, (_, raw) in zip(records, rows, strict=True)
        ]
        yield Chunk(
            len(records),
            fields.cells_of(records),
            pa.Table.from_pylist(texts, carried),
            rows.__getitem__,
            rejects,
            frozenset(late),
            position,
        )


def _names_in(beginning: bytes) -> dict[str, None]:
    """The fields of all whole records, in the order in which they first occur."""
    names: dict[str, None] = {}
    for line in beginning.removeprefix(BOM_UTF8).split(b"\n"):
        with suppress(ValueError, RecursionError):  # will be rejected, or is cut off here
            record = json.loads(line)
            fields = record if isinstance(record, dict) else ()
            "".join(fields).encode()  # raises if a name holds half a character
            names |= dict.fromkeys(fields)
    return names


class _Fields:
    """Which fields of a record are read, and which are unknown."""

    def __init__(self, file: TableFile, wanted: Wanted) -> None:
        self._features = None if wanted.features is None else (*wanted.features,)
        self._known = {*file.schema.names, *wanted.carried.names, *(self._features or ())}
        self._wanted = wanted
        self._nearest = lru_cache(1000)(nearest)

    def unknown_in(self, record: dict[str, Any]) -> set[str]:
        """The unknown fields; raises `_RejectedError` if one looks like a misspelt feature.

        A feature that a record lacks is missing, so a typo would silently lose its value.
        """
        if self._features is None:
            return set()
        unknown = record.keys() - self._known
        if unknown:
            lacking = tuple(name for name in self._features if name not in record)
            for name in sorted(unknown):
                if meant := self._nearest(shortened(name), lacking):
                    raise _RejectedError(name, f"unknown field; did you mean {meant!r}?")
        return unknown

    def cells_of(self, records: list[dict[str, Any]]) -> dict[str, list[object]]:
        """The values by column; None where a record has no such field."""
        names: Iterable[str] = self._features or dict.fromkeys(
            name for record in records for name in record if self._wanted.takes(name)
        )
        return {name: [record.get(name) for record in records] for name in names}


class _RejectedError(Exception):
    """A line is not a valid row. Its arguments: the column at fault, or "", and the reason."""


def _record(raw: bytes) -> dict[str, Any]:
    """The object on a line; raises `_RejectedError` if it is not a JSON object in UTF-8."""
    try:
        record = json.loads(raw.decode())
        if b"\\u" in raw:  # which may be half a character
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeError:
        raise _RejectedError("", NOT_UTF8) from None
    except (ValueError, RecursionError):
        raise _RejectedError("", "not JSON") from None
    if not isinstance(record, dict):
        raise _RejectedError("", "not a JSON object")
    return record


def _texts(record: dict[str, Any], raw: bytes, names: Iterable[str]) -> dict[str, str | None]:
    """The named fields as text, numbers as the line ``raw`` has them."""
    values = {name: record.get(name) for name in names}
    if any(isinstance(value, float) for value in values.values()):
        written = json.loads(raw, parse_float=str, parse_constant=str)
        values |= {name: written[name] for name in names if isinstance(values[name], float)}
    return {
        name: value
        if value is None or isinstance(value, str)
        else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
    }
