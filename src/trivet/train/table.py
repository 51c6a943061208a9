"""The training table: read in one pass, each column in as little memory as its values need."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivet.errors import TableError
from trivet.rows import readers
from trivet.rows.arrays import Floats, Mask, Rows
from trivet.rows.columns import Cells, encode_cells, is_text, python_values, unfit_cells
from trivet.rows.contract import Column
from trivet.rows.readers.table import TableFile, Wanted
from trivet.rows.rejects import MaxRejected, rejected_csv, too_many
from trivet.rows.values import EXPECTED, Unfit, category_text

#: Rejected rows are kept in memory up to so many bytes, then in a temporary file.
REJECTED_BYTES = 2**24

#: Called with the rows and bytes read so far.
OnRead = Callable[[int, int], object]


class Values:
    """One column: arrays of one type, or of codes for its different values, (rows,) in all."""

    def __init__(self, arrays: Sequence[pa.Array]) -> None:
        self._arrays = arrays
        kinds = (kind for kind in map(_value_type, arrays) if not pa.types.is_null(kind))
        self.type: pa.DataType = next(kinds, pa.null())

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value."""
        return all(array.null_count == len(array) for array in self._arrays)

    def different(self, rows: Mask | None = None) -> pa.Array:
        """The different values, each once, without null; of these ``rows`` alone, (rows,)."""
        found, start = [], 0
        for array in self._arrays:
            some = (
                array if rows is None else array.filter(pa.array(rows[start : start + len(array)]))
            )
            start += len(array)
            if pa.types.is_dictionary(some.type):
                some = some.dictionary.take(some.indices.unique().drop_null())
            found.append(some.cast(self.type).unique())
        return pa.chunked_array(found, self.type).unique().drop_null()

    def count(self, rows: Mask) -> int:
        """How many of these ``rows``, (rows,), have a value."""
        valid = np.concatenate([_valid(array) for array in self._arrays])
        return int((valid & rows).sum())

    def encode(self, column: Column) -> Rows:
        """The column as floats, (rows,), as `encode_cells` does it."""
        return np.concatenate([np.empty(0), *(encode_cells(each, column) for each in self._arrays)])

    def shown(self, row: int) -> str:
        """The value of a row as an error shows it."""
        for array in self._arrays:
            if row < len(array):
                (value,) = python_values(array.slice(row, 1))
                return "an empty cell" if value is None else repr(value)
            row -= len(array)
        raise IndexError(row)


@dataclass
class TrainingTable:
    """Columns by name, each of as many ``rows``.

    ``names`` has all columns in order, also those that were not read; ``unusable`` says what those
    hold that can't be read. Where cells are ``untyped``, all are text, whatever they hold.
    ``where`` names the place of a row, which counts from 0.
    """

    name: str
    names: Sequence[str]
    columns: dict[str, Values]
    unusable: Mapping[str, str]
    rows: int
    untyped: bool
    where: Callable[[int], str]

    def encode(self, values: Values, column: Column) -> Rows:
        """A column as floats, (rows,); raises `TableError`, which names the first cell at fault."""
        numbers = values.encode(column)
        unfit = unfit_cells(numbers, column)
        if unfit.any():
            raise self.fault(values, column, int(unfit.argmax()))
        return numbers

    def fault(self, values: Values, column: Column, row: int) -> TableError:
        """The error for a cell that its column can't hold."""
        return TableError(
            f"{self.where(row)}, column {column.name!r}: {values.shown(row)} is not "
            f"{EXPECTED[column.kind]}; correct the cell or leave the row out"
        )


@dataclass(frozen=True)
class Reading:
    """A table with what became of all rows: how many were ``read``, and those ``rejected``.

    ``rejected`` counts by cause; ``rejected_rows`` are the lines of a CSV without a header.
    """

    table: TrainingTable
    read: int
    rejected: Mapping[str, int]
    rejected_rows: bytes


def read_training_table(
    name: str,
    files: Sequence[TableFile],
    skipped: Iterable[str],
    max_rejected: MaxRejected,
    sample: tuple[int, int] | None,
    on_read: OnRead,
) -> Reading:
    """Read files as one table; ``sample`` draws so many rows, by a seed, from any number.

    Raises `TooManyRejected`, and `TableError` where files don't fit together.
    """
    if len({file.source.format for file in files}) > 1:
        raise TableError(f"{name}: holds files of several formats; train on files of one")
    wanted = Wanted(skipped=frozenset(skipped))
    gathered = _Gathered() if sample is None else _Sampled(*sample)
    rejected: Counter[str] = Counter()
    read, read_bytes = 0, 0
    with SpooledTemporaryFile(REJECTED_BYTES) as aside:
        for file in files:
            for chunk in readers.read(file, readers.whole(file), wanted):
                gathered.add(chunk.cells, chunk.rows)
                read += chunk.rows
                rejected.update(reject.cause for reject in chunk.rejects)
                aside.write(rejected_csv(file.source.name, chunk.rejects))
                if max_rejected.stops_at(rejected.total()):
                    break
                on_read(read, read_bytes + chunk.position)
            read_bytes += file.source.size
            file.source.check_unchanged()
        total = read + rejected.total()
        if not max_rejected.allows(rejected.total(), total):
            raise too_many(dict(rejected.most_common()), total, f"; {_first_of(aside)}")
        aside.seek(0)
        rejected_rows = aside.read()
    cells = gathered.finish()
    names = dict.fromkeys(column for file in files for column in file.schema.names)
    columns = {column: [] for column in names if wanted.takes(column)} | cells
    table = TrainingTable(
        name,
        [*(names | columns)],
        {name: Values(arrays) for name, arrays in columns.items()},
        gathered.unusable,
        gathered.rows,
        files[0].source.format == "csv",
        lambda row: _place(files, wanted, gathered.position(row)),
    )
    return Reading(table, read, dict(rejected.most_common()), rejected_rows)


class _Gathered:
    """Collects the cells of chunks by column; what no column can hold, it only remembers."""

    def __init__(self) -> None:
        self.columns: dict[str, list[pa.Array]] = {}
        self.unusable: dict[str, str] = {}
        self._sizes: list[int] = []

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(self._sizes)

    def add(self, cells: Mapping[str, Cells], rows: int) -> None:
        """Take the cells of some rows; a column that comes late was missing before."""
        for name in cells:
            self.columns.setdefault(name, [pa.nulls(size) for size in self._sizes])
        for name, arrays in self.columns.items():
            arrays.append(self._compact(name, cells[name]) if name in cells else pa.nulls(rows))
        self._sizes.append(rows)

    def finish(self) -> dict[str, list[pa.Array]]:
        """All columns, each of one type; they are kept here no longer."""
        columns, self.columns = self.columns, {}
        for name, arrays in columns.items():
            try:
                columns[name] = _of_one_type(arrays)
            except Unfit:
                kinds = sorted({str(_value_type(array)) for array in arrays})
                self.unusable[name] = f"values of types {' and '.join(kinds)}"
        return columns

    def position(self, row: int) -> int:
        """Which of all rows a row was."""
        return row

    def _compact(self, name: str, cells: Cells) -> pa.Array:
        """The cells, or nothing in place of those that can't be read."""
        try:
            array = as_array(cells)
        except Unfit:
            self.unusable[name] = "values of mixed types"
            return pa.nulls(len(cells))
        if pa.types.is_nested(array.type):
            self.unusable[name] = f"values of type {array.type}"
            return pa.nulls(len(array))
        return _coded(array)


class _Sampled(_Gathered):
    """Keeps a random sample: each row draws a number, and the ``most`` rows with the least stay.

    That is one pass with the memory of twice the sample, and the same rows whatever the chunks.
    """

    def __init__(self, most: int, seed: int) -> None:
        super().__init__()
        self._most, self._draw, self._limit = most, np.random.default_rng(seed), math.inf
        self._keys: list[Floats] = []
        self._positions: list[NDArray[np.int64]] = []
        self._seen = 0

    def add(self, cells: Mapping[str, Cells], rows: int) -> None:
        """Take the cells of those rows that may be of the sample."""
        keys = self._draw.random(rows)
        stay = np.flatnonzero(keys < self._limit)
        super().add({name: _some(each, stay) for name, each in cells.items()}, len(stay))
        self._keys.append(keys[stay])
        self._positions.append(self._seen + stay)
        self._seen += rows
        if self.rows > 2 * self._most:
            self._shrink()

    def finish(self) -> dict[str, list[pa.Array]]:
        """The columns of the sample."""
        if self.rows > self._most:
            self._shrink()
        return super().finish()

    def position(self, row: int) -> int:
        """Which of all rows a row was."""
        return int(np.concatenate(self._positions)[row])

    def _shrink(self) -> None:
        keys, positions = np.concatenate(self._keys), np.concatenate(self._positions)
        stay = np.sort(np.argpartition(keys, self._most)[: self._most])
        starts = np.cumsum([0, *self._sizes])
        for name, arrays in self.columns.items():
            self.columns[name] = [
                array.take(pa.array(stay[(stay >= start) & (stay < start + len(array))] - start))
                for array, start in zip(arrays, starts, strict=False)
            ]
        self._sizes = [len(array) for array in next(iter(self.columns.values()), ())]
        self._keys, self._positions = [keys[stay]], [positions[stay]]
        self._limit = float(keys[stay].max())


def as_array(cells: Cells) -> pa.Array:
    """The cells of a column as one array; values of JSON that differ in type as text.

    Raises `Unfit` for values that no column can hold together.
    """
    if not isinstance(cells, list):
        array = cells if isinstance(cells, pa.Array) else cells.combine_chunks()
        return _without_empty_text(array) if is_text(array.type) else array
    values: list[Any] = [None if value == "" or value != value else value for value in cells]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if all(value is None or type(value) in (int, float) for value in values):
            return pa.array([value if value is None else float(value) for value in values])
        return pa.array([category_text(value) for value in values], pa.string())


def _without_empty_text(array: pa.Array) -> pa.Array:
    empty = pc.equal(array, "")
    return pc.if_else(empty, None, array) if pc.any(empty).as_py() else array


def _some(cells: Cells, rows: NDArray[np.int64]) -> Cells:
    return [cells[row] for row in rows] if isinstance(cells, list) else cells.take(pa.array(rows))


def _coded(array: pa.Array) -> pa.Array:
    """The array, or codes for its different values where those take less memory."""
    try:
        coded = array.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return array
    for codes in (pa.int8(), pa.int16(), pa.int32()):
        if len(coded.dictionary) < 2 ** (codes.bit_width - 1) - 1:  # one more stands for missing
            break
    coded = pa.DictionaryArray.from_arrays(coded.indices.cast(codes), coded.dictionary)
    return coded if coded.nbytes < array.nbytes else array


def _of_one_type(arrays: list[pa.Array]) -> list[pa.Array]:
    """The arrays of one column, as numbers where all are, else as text; raises `Unfit`."""
    kinds = {kind for kind in map(_value_type, arrays) if not pa.types.is_null(kind)}
    if len(kinds) < 2:
        return arrays
    if all(map(pa.types.is_integer, kinds)):
        return [_plain(array).cast(pa.int64()) for array in arrays]
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return [_plain(array).cast(pa.float64(), safe=False) for array in arrays]
    texts = ([category_text(value) for value in python_values(array)] for array in arrays)
    return [_coded(pa.array(values, pa.string())) for values in texts]


def _valid(array: pa.Array) -> Mask:
    valid: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _value_type(array: pa.Array) -> pa.DataType:
    return array.type.value_type if pa.types.is_dictionary(array.type) else array.type


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _first_of(rejected: IO[bytes]) -> str:
    """The first rejected row as an error names it."""
    rejected.seek(0)
    file, line, column, reason, _ = next(
        csv.reader([rejected.readline().decode("utf-8", "replace")])
    )
    return f"the first is {file}, line {line}: {column + ': ' if column else ''}{reason}"


def _place(files: Sequence[TableFile], wanted: Wanted, row: int) -> str:
    """Where a row stands: read again, because that is only asked for the cell of an error."""
    for file in files:
        for chunk in readers.read(file, readers.whole(file), wanted):
            if row < chunk.rows:
                line, _ = chunk.place(row)
                return f"{file.source.name}: {file.unit} {line:,}"
            row -= chunk.rows
    raise IndexError(row)
