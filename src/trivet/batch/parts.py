"""Files cut into parts: units of work that are done, and done again, by themselves.

A part is a range of records of a text file, of rows of a Parquet file, or of batches of an Arrow
file. Where a file is cut depends on the file alone, so a run that goes on with another has the same
parts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from trivet.batch.inputs import InputFile, open_arrow
from trivet.errors import TableError
from trivet.rows.text import Endless, blocks, read_fully

#: So many bytes of text, of the columns of row groups, or of batches, make a part.
PART_BYTES = 32 * 2**20
#: Of Parquet, so many rows do: half a row group, where whoever wrote it took pyarrow's default.
PART_ROWS = 2**19
#: A row group is cut into no more pieces, because each is read from the start of the group.
MOST_PIECES = 4
#: Text is looked at in blocks of so many bytes; of compressed text, each is a part.
SCANNED_BYTES = 4 * 2**20
#: About how much larger text is than its compressed form.
COMPRESSED = 4


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
    return max(1, min(most, math.ceil(sum(map(_parts_about, inputs)))))


def _parts_about(file: InputFile) -> float:
    """About how many parts a file makes, without reading it; a fraction for a small one."""
    if file.rows is not None:
        return file.rows / PART_ROWS
    return file.source.size * (COMPRESSED if file.source.compression else 1) / PART_BYTES


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
