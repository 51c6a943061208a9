"""Records in a stream of text: where each ends, and its raw bytes.

Text is cut between records without parsing it; a newline between quotes does not end a record.
Bytes are kept as they are, even if they are not UTF-8.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

#: A record longer than this, in bytes, must be a quote that was never closed.
LONGEST = 64 * 2**20
QUOTE, NEWLINE, RETURN = ord('"'), ord("\n"), ord("\r")


class Endless(ValueError):
    """A record does not end; the text says why."""


@dataclass(frozen=True)
class Layout:
    """How a text file is laid out. If it is not ``quoted``, every newline ends a record."""

    delimiter: str = ","
    newline: bytes = b"\n"
    quoted: bool = True

    def lines(self, block: bytes) -> int:
        """How many lines end in a block."""
        return block.count(self.newline)


@dataclass(frozen=True)
class RawRow:
    """One row of a CSV: the number of its first line, its raw bytes, and its cells as Latin-1."""

    line: int
    raw: bytes
    cells: list[str]


def blocks(stream: Any, length: int | None, size: int, layout: Layout) -> Iterator[bytes]:
    """Whole records, about ``size`` bytes at a time, from the next ``length`` bytes of a stream.

    The stream must be at the start of a record. A length of None means all that follows. Raises
    `Endless` if a record does not end.
    """
    left = sys.maxsize if length is None else length
    rest = b""
    while more := read_fully(stream, min(size, left)):
        left -= len(more)
        rest += more
        if end := _end_of_records(rest, layout):
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > LONGEST:
            raise Endless(f"a row of more than {LONGEST >> 20} MB")
    if rest:
        if _ends_in_quotes(rest, layout):
            raise Endless("a quote that is opened and never closed")
        yield rest


def raw_rows(block: bytes, line: int, layout: Layout) -> Iterator[RawRow]:
    """The records of a block of CSV, blank lines too; ``line`` is the number of its first line."""
    taken: list[str] = []

    def lines() -> Iterator[str]:  # Latin-1 keeps every byte; lines keep their ends
        for text in io.StringIO(block.decode("latin-1"), newline=""):
            taken.append(text)
            yield text

    for cells in split_cells(lines(), layout.delimiter):
        raw = "".join(taken).encode("latin-1")
        yield RawRow(line, raw, cells)
        line += layout.lines(raw)
        taken.clear()


def split_cells(lines: Iterable[str], delimiter: str = ",") -> Iterator[list[str]]:
    """The cells of each row of a CSV, of any length; ``lines`` keep their line ends."""
    csv.field_size_limit(sys.maxsize)  # global to the module, so set to the same value every time
    return csv.reader(lines, delimiter=delimiter)


def read_fully(stream: Any, size: int) -> bytes:
    """The next ``size`` bytes, or all that are left; a compressed stream may give fewer at once."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(bytes(piece))
        size -= len(piece)
    return b"".join(pieces)


def _end_of_records(block: bytes, layout: Layout) -> int:
    """Where the last whole record of a block ends; 0 if none does."""
    if not layout.quoted or b'"' not in block:
        return block.rfind(layout.newline) + 1
    text = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(text == QUOTE)
    if not _quotes_alternate(text, quotes, layout):
        return _end_by_parsing(block, layout)
    ends = np.flatnonzero(text == ord(layout.newline))
    outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def _quotes_alternate(text: Any, quotes: Any, layout: Layout) -> bool:
    """Whether every other quote opens a cell, or is the second of a doubled quote.

    If so, a position is between quotes if the number of quotes before it is odd. A quote inside an
    unquoted cell is plain text, which breaks that rule.
    """
    openings = quotes[::2]
    before = text[openings[openings > 0] - 1]
    return bool(np.isin(before, [ord(layout.delimiter), QUOTE, NEWLINE, RETURN]).all())


def _end_by_parsing(block: bytes, layout: Layout) -> int:
    *_, last = raw_rows(block, 1, layout)
    whole = block.endswith(layout.newline) and not _ends_in_quotes(last.raw, layout)
    return len(block) if whole else len(block) - len(last.raw)


def _ends_in_quotes(block: bytes, layout: Layout) -> bool:
    """Whether a block ends between quotes."""
    if not layout.quoted or b'"' not in block:
        return False
    *_, last = raw_rows(block, 1, layout)
    longer = (
        last.raw.rstrip(b"\r\n") + layout.delimiter.encode()
    )  # adds a cell, unless between quotes
    *_, probed = raw_rows(longer, 1, layout)
    return len(probed.cells) == len(last.cells)
