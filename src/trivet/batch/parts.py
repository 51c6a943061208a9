"""Parts: pieces of the input, each predicted on its own, and again if that fails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trivet.rows import readers
from trivet.rows.readers import parquet, text
from trivet.rows.readers.table import Span, TableFile

#: Roughly how much larger a text is than its compressed form.
COMPRESSED = 4


@dataclass(frozen=True)
class Part:
    """A span of one file of the input, and its number in the run.

    The same files, cut by the same `sizes`, always give the same parts: a run can resume another.
    """

    number: int
    file: TableFile
    span: Span


def parts_of(files: Iterable[TableFile]) -> Iterator[Part]:
    """All parts of some files, in order."""
    spans = ((file, span) for file in files for span in readers.cut(file))
    for number, (file, span) in enumerate(spans):
        yield Part(number, file, span)


def sizes() -> list[float]:
    """What the parts depend on beside the files. With other sizes, no run can resume another."""
    return [
        *(text.SPAN_BYTES, text.SHARE, text.BLOCK_BYTES),
        *(parquet.SPAN_ROWS, parquet.MOST_PIECES),
    ]


def workers_for(files: Iterable[TableFile], most: int) -> int:
    """One worker for each full part of the input, but no more than ``most``."""
    return max(1, min(most, math.ceil(sum(map(_parts_about, files)))))


def _parts_about(file: TableFile) -> float:
    """Roughly how many parts of full size a file holds, without reading it."""
    if file.rows is not None:
        return file.rows / parquet.SPAN_ROWS
    compression = COMPRESSED if file.source.compression else 1
    return file.source.size * compression / text.SPAN_BYTES
