"""Files cut into parts: units of work that are done, and done again, by themselves.

A part is a range of records of a text file, of row groups of a Parquet file, or of batches of an
Arrow file. Where a file is cut depends on the file alone, so a run that goes on with another has
the same parts.
"""

from __future__ import annotations

import json
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
#: Text is looked at in blocks of so many bytes; of compressed text, each is a part.
SCANNED_BYTES = 4 * 2**20
#: A CSV's header ends, and the fields of a JSON Lines file have all occurred, within so many bytes.
BEGINNING = 2**20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class InputFile:
    """A source and its columns; rows of text start at a byte, in a line that has a number."""

    source: Source
    schema: pa.Schema
    layout: Layout = field(default_factory=Layout)
    start: int = 0
    line: int = 1


@dataclass(frozen=True)
class Part:
    """A range of a file: from ``start``, ``length`` bytes, row groups or batches.

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
            file = InputFile(source, plain_schema(pa.parquet.read_schema(stream)))
        else:
            file = InputFile(source, plain_schema(open_arrow(stream).schema))
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
    return InputFile(source, text_schema(names), layout, start, line)


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
    return InputFile(source, text_schema(names), Layout(quoted=False), start)


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
    groups = pa.parquet.read_metadata(stream)
    facts = [
        (group.total_byte_size, group.num_rows)
        for group in map(groups.row_group, range(groups.num_row_groups))
    ]
    yield from _cut_columnar(file, number, facts)


def _cut_arrow(file: InputFile, stream: BinaryIO, number: int) -> Iterator[Part]:
    reader = open_arrow(stream)
    if isinstance(reader, pa.ipc.RecordBatchStreamReader):
        yield Part(number, file, 0, sys.maxsize, 1, file.source.size)
        return
    facts = [
        (batch.nbytes, batch.num_rows)
        for batch in map(reader.get_batch, range(reader.num_record_batches))
    ]
    yield from _cut_columnar(file, number, facts)


def _cut_columnar(file: InputFile, number: int, facts: list[tuple[int, int]]) -> Iterator[Part]:
    """Parts of neighbouring row groups or batches; ``facts`` are bytes and rows of each."""
    total = sum(size for size, _ in facts) or 1
    start, line, size, rows = 0, 1, 0, 0
    for at, (more_size, more_rows) in enumerate(facts, 1):
        size, rows = size + more_size, rows + more_rows
        if size >= PART_BYTES or at == len(facts):
            weight = file.source.size * size // total
            yield Part(number, file, start, at - start, line, weight)
            number, start, line, size, rows = number + 1, at, line + rows, 0, 0
