"""The training table: read in one pass, each column in as little memory as its values need."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivet.errors import TableError, TrainingError
from trivet.rows import readers
from trivet.rows.arrays import Floats, Mask, Rows
from trivet.rows.columns import Cells, encode_cells, is_text, python_values, unfit_cells
from trivet.rows.contract import Column
from trivet.rows.readers.table import TableFile, Wanted
from trivet.rows.rejects import rejected_csv, too_many
from trivet.rows.sources import Source
from trivet.rows.values import EXPECTED, Unfit, category_text
from trivet.train.settings import TrainSettings

#: Called with the rows and bytes read so far, and the bytes of all.
Watch = Callable[[int, int, int], object]


class Values:
    """One column, (rows,), in one or more Arrow arrays; repeated values may be dictionary-coded."""

    def __init__(self, arrays: Sequence[pa.Array]) -> None:
        self._arrays = arrays
        kinds = (kind for kind in map(_value_type, arrays) if not pa.types.is_null(kind))
        self.type: pa.DataType = next(kinds, pa.null())

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value."""
        return all(array.null_count == len(array) for array in self._arrays)

    def different(self, rows: Mask | None = None) -> pa.Array:
        """The different values, without null; with ``rows``, (rows,), only the values of those."""
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
        valid = [array.is_valid().to_numpy(zero_copy_only=False) for array in self._arrays]
        return int((np.concatenate(valid) & rows).sum())

    def encode(self, column: Column) -> Rows:
        """The column as floats, (rows,), as `encode_cells` does it."""
        return np.concatenate([np.empty(0), *(encode_cells(each, column) for each in self._arrays)])

    def shown(self, row: int) -> str:
        """The value of a row as an error shows it."""
        for array in self._arrays:
            if row < len(array):
                (value,) = python_values(_plain(array.slice(row, 1)))
                return "an empty cell" if value is None else repr(value)
            row -= len(array)
        raise IndexError(row)


@dataclass
class TrainingTable:
    """The columns that were read, by name, each with ``rows`` values.

    ``names`` lists all columns in order, including those that were not read. ``unusable`` says what
    a column holds that can't be used. Cells that are ``untyped`` are all text, whatever they mean.
    ``where`` names the place of a row; rows count from 0.
    """

    name: str
    names: Sequence[str]
    columns: dict[str, Values]
    unusable: Mapping[str, str]
    rows: int
    untyped: bool
    where: Callable[[int], str]

    def encode(self, values: Values, column: Column) -> Rows:
        """A column as floats, (rows,); raises `TableError`, which names the first unfit cell."""
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
    needed = {settings.target, settings.time_column}
    wanted = Wanted(skipped=frozenset({*settings.identifiers, *settings.exclude} - needed))
    gathered = (
        _Sampled(settings.sample_rows, settings.seed) if settings.sample_rows else _Gathered()
    )
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
            if settings.max_rejected.stops_at(rejected.total()):
                raise too_many(rejected, read + rejected.total(), f"; the first is {first}")
            watch(read, done + chunk.position, total)
        done += file.source.size
        file.source.check_unchanged()
    if not settings.max_rejected.allows(rejected.total(), read + rejected.total()):
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
    )
    return Reading(table, read, rejected, rejected_rows)


class _Gathered:
    """Collects the cells of chunks by column; ``unusable`` says what no column can hold."""

    def __init__(self) -> None:
        self.rows = 0
        self.unusable: dict[str, str] = {}
        self._columns: dict[str, list[pa.Array]] = {}

    def add(
        self, cells: Mapping[str, Cells], rows: int, chosen: NDArray[np.int64] | None = None
    ) -> None:
        """Take the cells of some rows, or of the ``chosen`` ones among them.

        A column first seen here is null in all earlier rows.
        """
        count = rows if chosen is None else len(chosen)
        for name in cells:
            self._columns.setdefault(name, [pa.nulls(self.rows)])
        for name, arrays in self._columns.items():
            compact = self._compact(name, cells[name], chosen) if name in cells else pa.nulls(count)
            arrays.append(compact)
        self.rows += count

    def finish(self) -> dict[str, list[pa.Array]]:
        """Hand over all columns, each of one type, and forget them."""
        columns, self._columns = self._columns, {}
        for name, arrays in columns.items():
            try:
                columns[name] = _of_one_type(arrays)
            except Unfit:
                kinds = sorted({str(kind) for kind in map(_value_type, arrays)} - {"null"})
                self.unusable[name] = f"values of types {' and '.join(kinds)}"
                columns[name] = [pa.nulls(self.rows)]
        return columns

    def position(self, row: int) -> int:
        """Which row of all that were read a row is."""
        return row

    def _compact(self, name: str, cells: Cells, chosen: NDArray[np.int64] | None) -> pa.Array:
        """The cells, dictionary-coded if that is smaller; nulls if no column can hold them."""
        count = len(cells) if chosen is None else len(chosen)
        try:
            array = as_array(cells)
        except Unfit:
            self.unusable[name] = "values of mixed types"
            return pa.nulls(count)
        try:
            return _coded(array if chosen is None else array.take(pa.array(chosen)))
        except pa.ArrowNotImplementedError:  # such as lists: no feature is made of them
            self.unusable[name] = f"values of type {array.type}"
            return pa.nulls(count)


class _Sampled(_Gathered):
    """Keeps a random sample: each row draws a number, and the rows with the ``most`` lowest stay.

    That takes one pass and the memory of twice the sample, and gives the same rows however the
    table is cut into chunks.
    """

    def __init__(self, most: int, seed: int) -> None:
        super().__init__()
        self._most, self._draw, self._limit = most, np.random.default_rng(seed), math.inf
        self._keys: Floats = np.empty(0)
        self._positions: NDArray[np.int64] = np.empty(0, np.int64)
        self._seen = 0

    def add(
        self, cells: Mapping[str, Cells], rows: int, chosen: NDArray[np.int64] | None = None
    ) -> None:
        """Take the cells of the rows that may belong to the sample."""
        keys = self._draw.random(rows)
        chosen = np.flatnonzero(keys < self._limit)
        super().add(cells, rows, chosen)
        self._keys = np.append(self._keys, keys[chosen])
        self._positions = np.append(self._positions, self._seen + chosen)
        self._seen += rows
        if self.rows > 2 * self._most:
            self._shrink()

    def finish(self) -> dict[str, list[pa.Array]]:
        """The columns of the sample."""
        if self.rows > self._most:
            self._shrink()
        return super().finish()

    def position(self, row: int) -> int:
        """Which row of all that were read a row is."""
        return int(self._positions[row])

    def _shrink(self) -> None:
        stay = np.sort(np.argpartition(self._keys, self._most)[: self._most])
        self._columns = {
            name: [_coded(_joined(arrays).take(pa.array(stay)))]
            for name, arrays in super().finish().items()
        }
        self.rows, self._keys, self._positions = self._most, self._keys[stay], self._positions[stay]
        self._limit = float(self._keys.max())


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
            return pa.array([value if value is None else _as_float(value) for value in values])
        return pa.array([category_text(value) for value in values], pa.string())


def _as_float(number: float) -> float:
    """A number of JSON; infinite, which no column takes, if float64 can't hold it."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _without_empty_text(array: pa.Array) -> pa.Array:
    empty = pc.equal(array, "")
    return pc.if_else(empty, None, array) if pc.any(empty).as_py() else array


def _coded(array: pa.Array) -> pa.Array:
    """The array, or codes for its different values where those take less memory."""
    coded = array.dictionary_encode()
    for codes in (pa.int8(), pa.int16(), pa.int32()):
        if len(coded.dictionary) < 2 ** (codes.bit_width - 1) - 1:  # one more stands for missing
            break
    coded = pa.DictionaryArray.from_arrays(coded.indices.cast(codes), coded.dictionary)
    return coded if coded.nbytes < array.nbytes else array


def _of_one_type(arrays: list[pa.Array]) -> list[pa.Array]:
    """The arrays of one column, as numbers or moments if all are, else as text; raises `Unfit`."""
    kinds = {kind for kind in map(_value_type, arrays) if not pa.types.is_null(kind)}
    if len(kinds) < 2:
        return arrays
    for belongs, common in _COMMON_TYPES:
        if all(map(belongs, kinds)):
            return [_plain(array).cast(common, safe=False) for array in arrays]
    texts = ([category_text(value) for value in python_values(array)] for array in arrays)
    return [_coded(pa.array(values, pa.string())) for values in texts]


def _is_signed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_signed_integer(kind))


def _is_number(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(number)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


#: Types that one column may mix, and the type that holds them all.
_COMMON_TYPES = (
    (_is_signed, pa.int64()),
    (_is_number, pa.float64()),
    (_is_moment, pa.timestamp("us")),  # UTC, with or without a zone in the file
)


def _joined(arrays: list[pa.Array]) -> pa.Array:
    kind = Values(arrays).type
    return pa.concat_arrays([_plain(array).cast(kind) for array in arrays])


def _value_type(array: pa.Array) -> pa.DataType:
    return array.type.value_type if pa.types.is_dictionary(array.type) else array.type


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _place(files: Sequence[TableFile], wanted: Wanted, row: int) -> str:
    """Where a row stands. The files are read again: only an error message needs this."""
    for file in files:
        for chunk in readers.read(file, readers.whole(file), wanted):
            if row < chunk.rows:
                line, _ = chunk.place(row)
                return f"{file.source.name}: {file.unit} {line:,}"
            row -= chunk.rows
    raise IndexError(row)
