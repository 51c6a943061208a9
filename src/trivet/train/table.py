"""The training table, read in one pass from files of any format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from shlex import quote

import numpy as np
import pyarrow as pa

from trivet.errors import TableError, TrainingError
from trivet.rows import readers
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import unfit_cells
from trivet.rows.contract import Column
from trivet.rows.readers.table import TableFile, Wanted
from trivet.rows.rejects import rejected_csv, too_many
from trivet.rows.sources import Source
from trivet.rows.values import expected_of
from trivet.train.gather import Gathered, Sampled
from trivet.train.settings import TrainSettings, Watch, is_number
from trivet.train.values import Values

#: How many of the cells that their column can't hold an error names.
LISTED = 3


@dataclass
class TrainingTable:
    """The columns that were read, by name, each with ``rows`` values.

    ``names`` lists all columns in order, including those that were not read. ``unusable`` says what
    a column holds that can't be used. Cells that are ``untyped`` are all text, whatever they mean.
    ``where`` names the place of a row; rows count from 0. ``missing_words`` counts the words for a
    missing value by column and word; their cells have no value.
    """

    name: str
    names: Sequence[str]
    columns: dict[str, Values]
    unusable: Mapping[str, str]
    rows: int
    untyped: bool
    where: Callable[[int], str]
    missing_words: Mapping[str, Counter[str]] = field(default_factory=dict)

    def encode(self, values: Values, column: Column) -> Rows:
        """A column as floats, (rows,); raises `TableError`, which names the first unfit cell."""
        numbers = values.encode(column)
        unfit = unfit_cells(numbers, column)
        if unfit.any():
            raise self.fault(values, column, unfit)
        return numbers

    def fault(self, values: Values, column: Column, unfit: Mask) -> TableError:
        """The error for the cells that their column can't hold, (rows,); it names the first."""
        first, *others = np.flatnonzero(unfit)[:LISTED].tolist()
        word = values.value(first)
        more = ""
        if others:
            places = ", ".join(self.where(row).rpartition(": ")[2] for row in others)
            more = f" ({unfit.sum():,} such cells; the next: {places})"
        fix = "correct the cell or leave the row out"
        if isinstance(word, str) and not is_number(word):
            known = dict.fromkeys(chain([word.strip()], *self.missing_words.values()))
            flags = " ".join(f"--na-value {quote(each)}" for each in known)
            fix += f"; or, if the text means that the value is missing, {flags}"
        shown = "a missing value" if word is None else repr(word)
        return TableError(
            f"{self.where(first)}, column {column.name!r}: {shown} is not "
            f"{expected_of(column)}{more}; {fix}"
        )


@dataclass(frozen=True)
class Reading:
    """A table, and what became of all rows: how many were ``read``, and how many ``rejected``.

    ``rejected`` counts by cause; ``rejected_rows`` are the lines of a CSV without a header.
    """

    table: TrainingTable
    read: int
    rejected: Mapping[str, int]
    rejected_rows: bytearray


def read_training_table(
    settings: TrainSettings, sources: Sequence[Source], watch: Watch
) -> Reading:
    """Read all sources as one table, or a random sample of its rows.

    Identifiers and excluded columns are not read. Raises `TooManyRejected`, and `TableError` for
    sources that can't be read as one.
    """
    name = sources[0].name if len(sources) == 1 else f"{settings.data} ({len(sources)} files)"
    if len({source.format for source in sources}) > 1:
        raise TableError(f"{name}: holds files of several formats; train on files of one")
    files = [readers.columns(source, settings.delimiter) for source in sources]
    of_rows = (settings.time_column, settings.group_column, settings.weight_column)
    needed = {settings.target, *of_rows}
    wanted = Wanted(skipped=frozenset({*settings.identifiers, *settings.exclude} - needed))
    words = tuple(settings.na_values)
    sample = settings.sample_rows
    gathered = Sampled(words, sample, settings.seed) if sample else Gathered(words)
    rejected: Counter[str] = Counter()
    rejected_rows, first = bytearray(), ""
    read, done, total = 0, 0, sum(source.size for source in sources)
    watch(read, done, total)
    for file in files:
        for chunk in readers.read(file, readers.whole(file), wanted):
            gathered.add(chunk.cells, chunk.rows)
            read += chunk.rows
            for reject in chunk.rejects:
                first = first or f"{file.source.name}, line {reject.line:,}: {reject.cause}"
                rejected[reject.cause] += 1
            rejected_rows += rejected_csv(file.source.name, chunk.rejects)
            if settings.limit.stops_at(rejected.total()):
                raise too_many(rejected, read + rejected.total(), f"; the first is {first}")
            watch(read, done + chunk.position, total)
        done += file.source.size
        file.source.check_unchanged()
    if not settings.limit.allows(rejected.total(), read + rejected.total()):
        raise too_many(rejected, read + rejected.total(), f"; the first is {first}")
    if not read:
        rejects = f"; {rejected.total():,} were rejected, the first is {first}" if first else ""
        raise TrainingError(f"{name}: holds no rows{rejects}")
    columns = gathered.finish()
    names = dict.fromkeys(column for file in files for column in file.schema.names)
    empty: dict[str, list[pa.Array]] = {column: [] for column in names if wanted.takes(column)}
    table = TrainingTable(
        name=name,
        names=[*(names | columns)],
        columns={column: Values(arrays) for column, arrays in (empty | columns).items()},
        unusable=gathered.unusable,
        rows=gathered.rows,
        untyped=files[0].source.format == "csv",
        where=lambda row: _place(files, wanted, gathered.position(row)),
        missing_words=gathered.missing_words,
    )
    return Reading(table, read, dict(rejected.most_common()), rejected_rows)


def _place(files: Sequence[TableFile], wanted: Wanted, row: int) -> str:
    """Where a row stands. The files are read again: only an error message needs this."""
    for file in files:
        for chunk in readers.read(file, readers.whole(file), wanted):
            if row < chunk.rows:
                line, _ = chunk.place(row)
                return f"{file.source.name}: {file.unit} {line:,}"
            row -= chunk.rows
    raise IndexError(row)
