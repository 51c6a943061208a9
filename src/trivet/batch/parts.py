"""Files cut into parts: units of work that are done, and done again, by themselves.

A part is a range of records of a text file, of rows of a Parquet file, or of batches of an Arrow
file. Where a file is cut depends on the file alone, so a run that goes on with another has
the same parts.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet

from trivet.batch.sources import Source
from trivet.batch.text import Endless, Layout, blocks, read_fully, records
from trivet.errors import TableError
from trivet.tables import plain_schema

#: So many bytes of text, of the columns of row groups, or of batches, make a part.
PART_BYTES = 32 * 2**20
#: Of Parquet, so many rows do: half a row group, where whoever wrote it took pyarrow's default.
PART_ROWS = 2**19
#: A row group is cut into no more pieces, because each is read from the start of the group.
MOST_PIECES = 4
#: About how much larger text is than its compressed form.
COMPRESSED = 4
#: Text is looked at in blocks of so many bytes; of compressed text, each is a part.
SCANNED_BYTES = 4 * 2**20
#: A CSV's header ends, and the fields of a JSON Lines file have all occurred, within so many bytes.
BEGINNING = 2**20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class InputFile:
    """A source and its columns; rows of text start at a byte, in a line that has a number.

    ``parts`` is about how many parts it makes, a fraction for a small one.
    """

    source: Source
    schema: pa.Schema
    parts: float
    layout: Layout = field(default_factory=Layout)
    start: int = 0
    line: int = 1


@dataclass(frozen=True)
class Part:
    """A range of a file: from ``start``, ``length`` bytes, rows of Parquet, or batches.

    ``line`` is the number of its first line, or row; ``weight`` is its share of the file in bytes.
    A compressed file can't be entered midway, so its parts hold their ``content``.
    """

    number: int
    file: InputFile
    start: int
    length: int
    line: int
    weight: int
    content: bytes | None = None


def open_input(source: Source, delimiter: str) -> InputFile:
    """Read what the columns are; raises `TableError` where there are none, or two of one name."""
    with source.open() as stream:
        if source.format == "csv":
            file = _open_csv(source, stream, delimiter)
        elif source.format == "jsonl":
            file = _open_jsonl(source, stream)
        elif source.format == "parquet":
            about = pa.parquet.read_metadata(stream)
            schema = plain_schema(about.schema.to_arrow_schema())
            file = InputFile(source, schema, about.num_rows / PART_ROWS)
        else:
            schema = plain_schema(open_arrow(stream).schema)
            file = InputFile(source, schema, source.size / PART_BYTES)
    repeated = [name for name, count in Counter(file.schema.names).items() if count > 1]
    if repeated:
        raise TableError(
            f"{source.name}: column {repeated[0]!r} appears twice; rename one of the two"
        )
    return file


def parts_of(inputs: Iterable[InputFile]) -> Iterator[Part]:
    """All parts of some inputs, in order; text is read on the way, to see where records end."""
    number = 0
    for file in inputs:
        cut = {"csv": _cut_text, "jsonl": _cut_text, "parquet": _cut_parquet, "arrow": _cut_arrow}
        with file.source.open() as stream:
            for part in cut[file.source.format](file, stream, number):
                yield part
                number = part.number + 1


def workers_for(inputs: Iterable[InputFile], most: int) -> int:
    """So many workers as there are parts for, at most ``most``: a small table needs but one."""
    return max(1, min(most, math.ceil(sum(file.parts for file in inputs))))


def text_schema(names: Iterable[str]) -> pa.Schema:
    """The schema of a table whose columns are all text."""
    return pa.schema([(name, pa.string()) for name in names])


def open_arrow(stream: BinaryIO) -> Any:
    """The reader of an Arrow file, which can be entered anywhere, or of a stream, which can't."""
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _open_csv(source: Source, stream: BinaryIO, delimiter: str) -> InputFile:
    beginning = read_fully(source.decompressed(stream), BEGINNING)
    text = beginning.removeprefix(BOM)
    start, layout = len(beginning) - len(text), Layout(delimiter)
    for header in records(text, 1, layout):
        start += len(header.raw)
        if header.cells:
            break
    else:
        raise TableError(f"{source.name}: is empty; a CSV file starts with the columns' names")
    if len(header.raw) == BEGINNING:
        raise TableError(f"{source.name}: the header does not end; is it a CSV file?")
    try:
        names = [cell.encode("latin-1").decode() for cell in header.cells]
    except UnicodeDecodeError as error:
        raise TableError(f"{source.name}: its header is not UTF-8; save it as UTF-8") from error
    newline = b"\r" if header.raw.endswith(b"\r") else b"\n"
    layout = Layout(delimiter, newline)
    line = 1 + layout.lines(beginning[:start])
    return InputFile(source, text_schema(names), _text_parts(source), layout, start, line)


def _open_jsonl(source: Source, stream: BinaryIO) -> InputFile:
    beginning = read_fully(source.decompressed(stream), BEGINNING)
    names: dict[str, None] = {}
    for line in beginning.removeprefix(BOM).splitlines():
        with suppress(ValueError, RecursionError):  # a row to be rejected, or cut off here
            record = json.loads(line)
            names |= dict.fromkeys(record if isinstance(record, dict) else ())
    if not names:
        raise TableError(f"{source.name}: holds no row; each line should be a JSON object")
    start = len(BOM) if beginning.startswith(BOM) else 0
    layout = Layout(quoted=False)
    return InputFile(source, text_schema(names), _text_parts(source), layout, start)


def _text_parts(source: Source) -> float:
    return source.size * (COMPRESSED if source.compression else 1) / PART_BYTES


def _cut_text(file: InputFile, stream: BinaryIO, number: int) -> Iterator[Part]:
    source, layout = file.source, file.layout
    text = source.decompressed(stream)
    read_fully(text, file.start)
    start, line, weighed = file.start, file.line, 0
    length = lines = 0
    try:
        for block in blocks(text, None, min(SCANNED_BYTES, PART_BYTES), layout):
            length, lines = length + len(block), lines + layout.lines(block)
            if length >= PART_BYTES or source.compression:
                content = block if source.compression else None
                yield Part(number, file, start, length, line, stream.tell() - weighed, content)
                number, start, line, weighed = (
                    number + 1,
                    start + length,
                    line + lines,
                    stream.tell(),
                )
                length = lines = 0
    except Endless as error:
        raise TableError(f"{source.name}: {error}, in line {line + lines:,} or after") from error
    if length:
        yield Part(number, file, start, length, line, stream.tell() - weighed)


def _cut_parquet(file: InputFile, stream: BinaryIO, number: int) -> Iterator[Part]:
    about = pa.parquet.read_metadata(stream)
    groups = map(about.row_group, range(about.num_row_groups))
    for start, length in _ranges((group.num_rows, group.total_byte_size) for group in groups):
        weight = file.source.size * length // about.num_rows
        yield Part(number, file, start, length, start + 1, weight)
        number += 1


def _ranges(groups: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges of rows, of neighbouring row groups or within a large one: the first, and how many.

    ``groups`` are rows and bytes of each.
    """
    start = length = size = 0
    for rows, its_size in groups:
        pieces = max(1, min(-(-rows // PART_ROWS), MOST_PIECES))
        for piece in range(pieces):
            more = rows * (piece + 1) // pieces - rows * piece // pieces
            if length and (length + more > PART_ROWS or size >= PART_BYTES):
                yield start, length
                start, length, size = start + length, 0, 0
            length, size = length + more, size + its_size // pieces
    if length:
        yield start, length


def _cut_arrow(file: InputFile, stream: BinaryIO, number: int) -> Iterator[Part]:
    reader = open_arrow(stream)
    if isinstance(reader, pa.ipc.RecordBatchStreamReader):
        yield Part(number, file, 0, sys.maxsize, 1, file.source.size)
        return
    start, line, size, rows = 0, 1, 0, 0
    for at in range(reader.num_record_batches):
        batch = reader.get_batch(at)
        size, rows = size + batch.nbytes, rows + batch.num_rows
        if size >= PART_BYTES or at == reader.num_record_batches - 1:
            weight = file.source.size * (at + 1 - start) // reader.num_record_batches
            yield Part(number, file, start, at + 1 - start, line, weight)
            number, start, line, size, rows = number + 1, at + 1, line + rows, 0, 0
