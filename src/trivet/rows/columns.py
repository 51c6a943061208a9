"""Columns of a table as numbers, in the encoding that `trivet.rows.values` defines.

A column is an Arrow array, or a list of JSON values. Arrow casts a whole array of numbers at once.
Of any other array, each distinct value is encoded once, by the encoder of records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.errors import TableError, did_you_mean, nearest
from trivet.rows.arrays import Mask, Rows
from trivet.rows.contract import Column, Contract
from trivet.rows.values import (
    Encoder,
    Unfit,
    as_json_value,
    column_encoder,
    compared,
    kind_of_cells,
)

#: The cells of one column, (rows,).
Cells: TypeAlias = "pa.Array | pa.ChunkedArray | list[object]"


def encode_columns(cells: Mapping[str, Cells], contract: Contract, rows: int) -> Rows:
    """The features of ``rows`` rows, (rows x features), column-major, encoded by `encode_cells`.

    A feature that has no cells is missing in every row.
    """
    encoded = np.full((rows, len(contract.columns)), np.nan, order="F")
    for position, column in enumerate(contract.columns):
        if column.name in cells:
            encoded[:, position] = encode_cells(cells[column.name], column, contract.missing_words)
    return encoded


def encode_cells(cells: Cells, column: Column, words: Sequence[str] = ()) -> Rows:
    """One column as floats, (rows,): NaN if missing, infinite if unfit.

    ``words`` mean a missing value.
    """
    if isinstance(cells, list):
        return _encode_each(cells, column_encoder(column, words))
    values = _one_array(cells)
    if pa.types.is_dictionary(values.type):
        return _encode_coded(values, column, words)
    numbers = _cast(values, column, words)
    return _encode_coded(values.dictionary_encode(), column, words) if numbers is None else numbers


def without_missing_words(texts: pa.Array, words: Sequence[str]) -> pa.Array:
    """An array of text as codes for its different values, null for each of these words."""
    coded = texts.dictionary_encode()
    found = _missing_among(coded.dictionary, words)
    if not pc.any(found).as_py():
        return coded
    return pc.if_else(pc.fill_null(found.take(coded.indices), True), None, coded)


def unfit_cells(numbers: Rows, column: Column) -> Mask:
    """Which of a column's encoded cells break its contract, (rows,)."""
    unfit: Mask = np.isinf(numbers)
    return unfit if column.nullable else unfit | np.isnan(numbers)


def require_columns(columns: Sequence[str], names: Iterable[str], source: Path | str) -> None:
    """Raise `TableError` for the first name that a table has no column for."""
    for name in names:
        if name not in columns:
            header = f"; its header is {', '.join(columns) or 'empty'}"
            hint = did_you_mean(name, columns) or header
            raise TableError(f"{source}: no column {name!r}{hint}")


def require_features(columns: Sequence[str], contract: Contract, source: Path | str) -> list[str]:
    """The features that a table has no column for, each of which may be missing.

    Raises `TableError` if such a feature is required, or seems to be misspelt.
    """
    absent = [column for column in contract.columns if column.name not in columns]
    unknown = set(columns) - contract.known_names
    for column in absent:
        if not column.nullable or nearest(column.name, unknown):
            require_columns(columns, (column.name,), source)
    return [column.name for column in absent]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def python_values(values: pa.Array) -> list[object]:
    """The values of an array; a time outside Python's years 1 to 9999 is its number, as text."""
    if pa.types.is_float32(values.type):  # 7.1, not the float64 next to the float32
        values = values.cast(pa.string()).cast(pa.float64())
    try:
        return list(values.to_pylist())
    except (OverflowError, ValueError):
        return [_python_value(value) for value in values]


def _encode_each(values: Iterable[object], encode: Encoder) -> Rows:
    """Values as floats, one by one."""

    def number_of(value: object) -> float:
        try:
            return encode(value)
        except Unfit as unfit:
            return math.nan if unfit.code == "missing" else math.inf

    return np.array([number_of(value) for value in values], dtype=np.float64)


def _one_array(cells: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(cells, pa.Array):
        return cells
    return cells.chunk(0) if cells.num_chunks == 1 else cells.combine_chunks()


def _encode_coded(coded: pa.DictionaryArray, column: Column, words: Sequence[str]) -> Rows:
    """A dictionary array as floats: each distinct value is encoded once."""
    distinct = coded.dictionary
    numbers = _cast(distinct, column, words)
    if numbers is None:
        values = (as_json_value(value, kind_of_cells(column)) for value in python_values(distinct))
        numbers = _encode_each(values, column_encoder(column, words))
    missing = len(distinct)
    positions = coded.indices.fill_null(missing).to_numpy(zero_copy_only=False)
    spread: Rows = np.append(numbers, np.nan)[positions]
    return spread


def _cast(values: pa.Array, column: Column, words: Sequence[str]) -> Rows | None:
    """A column of numbers as floats, cast as a whole; None if Arrow cannot do that."""
    if column.kind not in ("number", "integer"):
        return None
    if is_text(values.type):
        if column.form:
            return None
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(_missing_among(values, words), None, values)
    elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    try:
        numbers: Rows = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        return None
    if column.kind == "integer":
        fractions = (numbers != np.floor(numbers)) & ~np.isnan(numbers)
        if fractions.any():
            numbers = np.where(fractions, np.inf, numbers)
    return numbers


def _missing_among(texts: pa.Array, words: Sequence[str]) -> pa.Array:
    """Which texts mean a missing value, as `trivet.rows.values.is_missing` defines it."""
    known = pa.array(sorted(compared(words)), texts.type)
    return pc.is_in(pc.utf8_trim_whitespace(texts), known)


def _python_value(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        integer = pa.int32() if value.type == pa.date32() else pa.int64()
        return str(value.cast(integer).as_py())
