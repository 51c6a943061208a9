"""What the readers of text files share: their beginning, where to cut them, and their blocks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from trivet.errors import TableError
from trivet.rows.readers.table import Span, TableFile
from trivet.rows.sources import Source
from trivet.rows.text import Endless, blocks, read_fully

#: Bytes that are searched for the header of a CSV, or for the fields of a JSON Lines file.
BEGINNING = 2**20
#: A span of text ends with the block that gives it this many bytes, or `SHARE` of what is before it
#: in the file: so the first are ready soon, and those that are left at the end are short.
SPAN_BYTES = 32 * 2**20
SHARE = 1 / 8
#: Bytes of text that are scanned or parsed at once. Each block of compressed text is a span.
BLOCK_BYTES = 4 * 2**20


def beginning_of(source: Source, text: Any) -> bytes:
    """The first bytes of a text; raises `TableError` if they look like UTF-16."""
    beginning = read_fully(text, BEGINNING)
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning[:4]:
        raise TableError(f"{source.name}: this is UTF-16: save it as UTF-8")
    return beginning


def text_schema(names: Iterable[str]) -> pa.Schema:
    """The schema of a table whose columns are all text."""
    return pa.schema([(name, pa.string()) for name in names])


def cut(file: TableFile, stream: BinaryIO) -> Iterator[Span]:
    """Spans of whole records. The whole text is read, to find where records end."""
    compressed = file.source.compression is not None
    text = file.source.decompressed(stream)
    read_fully(text, file.start)
    start, first, length, weighed = file.start, file.line, 0, 0
    for block, line in _blocks(file, text, None, file.line, min(BLOCK_BYTES, SPAN_BYTES)):
        first = first if length else line
        length += len(block)
        if compressed or length >= min(SPAN_BYTES, start * SHARE):
            content = block if compressed else None
            yield Span(start, length, first, stream.tell() - weighed, content)
            start, length, weighed = start + length, 0, stream.tell()
    if length:
        yield Span(start, length, first, stream.tell() - weighed)


def text_blocks(file: TableFile, span: Span) -> Iterator[tuple[bytes, int, int]]:
    """Blocks of a span's text, the line that each starts on, and how many bytes have been read."""
    with io.BytesIO(span.content) if span.content else file.source.open() as stream:
        text = stream if span.content else file.source.decompressed(stream)
        if text is not stream:
            read_fully(text, span.start)  # nothing can seek in compressed text
        elif not span.content:
            stream.seek(span.start)
        for block, line in _blocks(file, text, span.length, span.line, BLOCK_BYTES):
            yield block, line, stream.tell()


def _blocks(
    file: TableFile, text: Any, length: int | None, line: int, size: int
) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole records, and the line that each starts on; ``line`` is that of the first."""
    try:
        for block in blocks(text, length, size, file.layout):
            yield block, line
            line += file.layout.lines(block)
    except Endless as error:
        raise TableError(f"{file.source.name}: {error}, in line {line:,} or after") from error
