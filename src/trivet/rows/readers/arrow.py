"""Arrow files, among them Feather version 2, and Arrow streams."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa

from trivet.rows.readers import text
from trivet.rows.readers.table import Chunk, Span, TableFile, Wanted
from trivet.rows.readers.typed import read_batches, typed_file
from trivet.rows.sources import Source


def columns(source: Source, stream: BinaryIO, delimiter: str | None) -> TableFile:
    """The columns."""
    return typed_file(source, _open(stream).schema)


def cut(file: TableFile, stream: BinaryIO) -> Iterator[Span]:
    """Ranges of batches. A stream is one span, because nothing can seek in it."""
    reader = _open(stream)
    if isinstance(reader, pa.ipc.RecordBatchStreamReader):
        yield Span(0, None, 1, file.source.size)
        return
    start, line, size, rows = 0, 1, 0, 0
    for at in range(reader.num_record_batches):
        batch = reader.get_batch(at)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if size >= text.SPAN_BYTES or at == reader.num_record_batches - 1:
            weight = file.source.size * (at + 1 - start) // reader.num_record_batches
            yield Span(start, at + 1 - start, line, weight)
            start, line, size, rows = at + 1, line + rows, 0, 0


def read(file: TableFile, span: Span, wanted: Wanted) -> Iterator[Chunk]:
    """The rows of a span."""
    return read_batches(file, span, wanted, partial(_batches, span))


def _batches(span: Span, stream: Any, names: list[str], most: int) -> Iterator[pa.RecordBatch]:
    reader = _open(stream)
    if isinstance(reader, pa.ipc.RecordBatchStreamReader):
        yield from reader
        return
    end = reader.num_record_batches if span.length is None else span.start + span.length
    yield from map(reader.get_batch, range(span.start, end))


def _open(stream: BinaryIO) -> Any:
    """The reader of an Arrow file, or of an Arrow stream."""
    beginning = stream.read(6)
    stream.seek(0)
    if beginning.startswith(b"FEA1"):
        raise pa.ArrowInvalid("it is Feather version 1; save it as version 2")
    is_file = beginning == b"ARROW1"
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)
