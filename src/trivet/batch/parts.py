"""Parts: pieces of the input that are predicted, and predicted again, by themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from trivet.rows import readers
from trivet.rows.readers import parquet, text
from trivet.rows.readers.table import Span, TableFile

#: About how much larger text is than its compressed form.
COMPRESSED = 4


@dataclass(frozen=True)
class Part:
    """A span of one file of the input, and its number within the run.

    Where a file is cut depends on the file alone, so a run that resumes another has the same parts.
    """

    number: int
    file: TableFile
    span: Span


def parts_of(files: Iterable[TableFile]) -> Iterator[Part]:
    """All parts of some files, in order."""
    number = 0
    for file in files:
        for span in readers.cut(file):
            yield Part(number, file, span)
            number += 1


def workers_for(files: Iterable[TableFile], most: int) -> int:
    """So many workers as there are parts for, at most ``most``: a small table needs but one."""
    return max(1, min(most, math.ceil(sum(map(_parts_about, files)))))


def _parts_about(file: TableFile) -> float:
    """About how many parts a file makes, without reading it; a fraction for a small one."""
    if file.rows is not None:
        return file.rows / parquet.SPAN_ROWS
    compression = COMPRESSED if file.source.compression else 1
    return file.source.size * compression / text.SPAN_BYTES
