"""Records in a stream of text: where they end, and what each is as it stood.

A file is cut at ends of records into parts, and a part into blocks, without parsing it. A newline
between quotes ends no record. Bytes are kept as they are, whether they are UTF-8 or not.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

#: A record beyond this many bytes is taken for a quote that was never closed.
LONGEST = 64 * 2**20
BOM = b"\xef\xbb\xbf"
QUOTE, NEWLINE, RETURN = ord('"'), ord("\n"), ord("\r")


class Endless(ValueError):
    """What keeps a record from ending."""


@dataclass(frozen=True)
class Layout:
    """How a file of text is laid out: in JSON Lines, a quote doesn't hide a newline."""

    delimiter: str = ","
    newline: bytes = b"\n"
    quoted: bool = True

    def lines(self, block: bytes) -> int:
        """How many lines end in a block."""
        return block.count(self.newline)


@dataclass(frozen=True)
class RawRow:
    """One row of a CSV as it stands: the number of its first line, from 1, its bytes, its cells."""

    line: int
    raw: bytes
    cells: list[str]


def blocks(stream: Any, length: int | None, size: int, layout: Layout) -> Iterator[bytes]:
    """Whole records, about ``size`` bytes at a time, from the next ``length`` bytes of a stream.

    The stream stands at the start of a record; a length of None is all of it. Raises `Endless`
    where the next record has no end.
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
    """The records of a block of CSV whose first line has the number ``line``; blank ones too."""
    taken: list[str] = []

    def lines() -> Iterator[str]:  # Latin-1 keeps every byte; each line keeps its end
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
    csv.field_size_limit(sys.maxsize)  # the module's, for all threads: set by all who split alike
    return csv.reader(lines, delimiter=delimiter)


def read_fully(stream: Any, size: int) -> bytes:
    """As many bytes as asked for, unless the stream ends: a compressed one may give fewer."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(bytes(piece))
        size -= len(piece)
    return b"".join(pieces)


def _end_of_records(block: bytes, layout: Layout) -> int:
    """Where the last whole record of a block ends; 0 where none does."""
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
    """Whether every second quote opens a cell, or goes on with one after a doubled quote.

    Then whether a place is between quotes is the parity of those before it. A quote within an
    unquoted cell is plain text, and breaks that.
    """
    openings = quotes[::2]
    before = text[openings[openings > 0] - 1]
    return bool(np.isin(before, [ord(layout.delimiter), QUOTE, NEWLINE, RETURN]).all())


def _end_by_parsing(block: bytes, layout: Layout) -> int:
    *_, last = raw_rows(block, 1, layout)
    whole = block.endswith(layout.newline) and not _ends_in_quotes(last.raw, layout)
    return len(block) if whole else len(block) - len(last.raw)


def _ends_in_quotes(block: bytes, layout: Layout) -> bool:
    """Whether the last record of a block is still between quotes where the block ends."""
    if not layout.quoted or b'"' not in block:
        return False
    *_, last = raw_rows(block, 1, layout)
    longer = last.raw.rstrip(b"\r\n") + layout.delimiter.encode()  # one cell more, unless quoted
    *_, probed = raw_rows(longer, 1, layout)
    return len(probed.cells) == len(last.cells)
