"""One column of the training table, in as little memory as its values need."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import Cells, encode_cells, is_text, python_values, without_missing_words
from trivet.rows.contract import Column
from trivet.rows.values import category_text, compared, is_missing


class Values:
    """One column, (rows,), in one or more Arrow arrays; repeated values may be dictionary-coded."""

    def __init__(self, arrays: Sequence[pa.Array]) -> None:
        self._arrays = arrays
        kinds = (kind for kind in map(value_type, arrays) if not pa.types.is_null(kind))
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

    def value(self, row: int) -> object:
        """The value of a row; None if it is missing."""
        for array in self._arrays:
            if row < len(array):
                (value,) = python_values(_plain(array.slice(row, 1)))
                return value
            row -= len(array)
        raise IndexError(row)


def as_array(cells: Cells, words: Sequence[str] = ()) -> pa.Array:
    """The cells of a column as one array, with null for these ``words`` and for empty text.

    Values of JSON that differ in type become text. Raises `Unfit` for values that no column can
    hold together.
    """
    if not isinstance(cells, list):
        array = cells if isinstance(cells, pa.Array) else cells.combine_chunks()
        return without_missing_words(array, words) if is_text(array.type) else array
    missing = compared(words)
    values: list[Any] = [None if is_missing(value, missing) else value for value in cells]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if all(value is None or type(value) in (int, float) for value in values):
            with suppress(pa.ArrowException, OverflowError):
                return pa.array(values, pa.uint64())
            return pa.array([value if value is None else _as_float(value) for value in values])
        return pa.array([category_text(value) for value in values], pa.string())


def words_among(cells: Cells, array: pa.Array) -> Counter[str]:
    """The words that became null in the array of these cells, and how often each did."""
    if isinstance(cells, list):
        lost = [cells[at] for at in np.flatnonzero(array.is_null())]
    elif array.null_count == cells.null_count:
        lost = []
    else:
        lost = cells.filter(array.is_null()).to_pylist()
    words = (value.strip() for value in lost if isinstance(value, str))
    return Counter(word for word in words if word)


def _as_float(number: float) -> float:
    """A number of JSON; infinite, which no column takes, if float64 can't hold it."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def coded(array: pa.Array) -> pa.Array:
    """The values of an array, or codes for the different ones where those take less memory."""
    wide, array = array.dictionary_encode(), _plain(array)
    for codes in (pa.int8(), pa.int16(), pa.int32()):
        if len(wide.dictionary) < 2 ** (codes.bit_width - 1) - 1:  # one more stands for missing
            break
    narrow = pa.DictionaryArray.from_arrays(wide.indices.cast(codes), wide.dictionary)
    return narrow if narrow.nbytes < array.nbytes else array


def of_one_type(arrays: list[pa.Array]) -> list[pa.Array]:
    """The arrays of one column, as numbers or moments if all are, else as text; raises `Unfit`."""
    kinds = {kind for kind in map(value_type, arrays) if not pa.types.is_null(kind)}
    if len(kinds) < 2:
        return arrays
    for belongs, common in _COMMON_TYPES:
        if all(map(belongs, kinds)):
            return [_plain(array).cast(common, safe=False) for array in arrays]
    texts = ([category_text(value) for value in python_values(array)] for array in arrays)
    return [coded(pa.array(values, pa.string())) for values in texts]


def _is_signed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_signed_integer(kind))


def _is_integer(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def _is_number(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(number)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


#: Types that one column may mix, and the type that holds them all.
_COMMON_TYPES = (
    (_is_signed, pa.int64()),
    (_is_integer, pa.decimal128(20, 0)),
    (_is_number, pa.float64()),
    (_is_moment, pa.timestamp("us")),  # UTC, with or without a zone in the file
)


def joined(arrays: list[pa.Array]) -> pa.Array:
    """The arrays of one column, which have one type, as one."""
    kind = Values(arrays).type
    return pa.concat_arrays([_plain(array).cast(kind) for array in arrays])


def value_type(array: pa.Array) -> pa.DataType:
    """The type of an array's values, coded or not."""
    return array.type.value_type if pa.types.is_dictionary(array.type) else array.type


def _plain(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
