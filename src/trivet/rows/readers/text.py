"""What the readers of text share: the beginning of a file, where it is cut, and its blocks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa

from trivet.errors import TableError
from trivet.rows.readers.table import Span, TableFile
from trivet.rows.sources import Source
from trivet.rows.text import Endless, blocks, read_fully

#: The header of a CSV ends, and what a JSON Lines file holds is learnt, within so many bytes.
BEGINNING = 2**20
#: So many bytes of text make a span.
SPAN_BYTES = 32 * 2**20
#: Text is looked at in blocks of so many bytes; of compressed text, each is a span.
SCANNED_BYTES = 4 * 2**20
#: So many bytes of text are parsed at once.
BLOCK_BYTES = 4 * 2**20


def beginning_of(source: Source, text: Any) -> bytes:
    """The first bytes of a text; raises `TableError` where it is not UTF-8 by the look of it."""
    beginning = read_fully(text, BEGINNING)
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning[:4]:
        raise TableError(f"{source.name}: this is UTF-16: save it as UTF-8")
    return beginning


def text_schema(names: Iterable[str]) -> pa.Schema:
    """The schema of a table whose columns are all text."""
    return pa.schema([(name, pa.string()) for name in names])


def cut(file: TableFile, stream: BinaryIO) -> Iterator[Span]:
    """Spans of whole records; the text is read on the way, to see where records end."""
    source, layout = file.source, file.layout
    text = source.decompressed(stream)
    read_fully(text, file.start)
    start, line, weighed = file.start, file.line, 0
    length = lines = 0
    try:
        for block in blocks(text, None, min(SCANNED_BYTES, SPAN_BYTES), layout):
            length, lines = length + len(block), lines + layout.lines(block)
            if length >= SPAN_BYTES or source.compression:
                content = block if source.compression else None
                yield Span(start, length, line, stream.tell() - weighed, content)
                start, line, weighed = start + length, line + lines, stream.tell()
                length = lines = 0
    except Endless as error:
        raise TableError(f"{source.name}: {error}, in line {line + lines:,} or after") from error
    if length:
        yield Span(start, length, line, stream.tell() - weighed)


def text_blocks(file: TableFile, span: Span) -> Iterator[tuple[bytes, int, int]]:
    """Blocks of a span's text, the line that each starts in, and how many bytes have been read."""
    line, layout = span.line, file.layout
    with _text(file, span) as (text, stream):
        try:
            for block in blocks(text, span.length, BLOCK_BYTES, layout):
                yield block, line, stream.tell()
                line += layout.lines(block)
        except Endless as error:
            raise TableError(f"{file.source.name}: {error}, in line {line:,} or after") from error


@contextmanager
def _text(file: TableFile, span: Span) -> Iterator[tuple[Any, BinaryIO]]:
    """A span's text, and the stream of bytes that it comes from."""
    if span.content is not None:
        content = io.BytesIO(span.content)
        yield content, content
        return
    with file.source.open() as stream:
        text = file.source.decompressed(stream)
        if text is stream:
            stream.seek(span.start)
        else:
            read_fully(text, span.start)
        yield text, stream
