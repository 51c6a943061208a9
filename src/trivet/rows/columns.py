"""Tables on disk, and their way into rows of floats: CSV or Parquet, by the file's ending.

A CSV is read as text and typed by the contract, never by a guess a column: ``"001"`` stays text
where the model was trained on text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from trivet.errors import TableError, did_you_mean, nearest
from trivet.rows.arrays import Rows
from trivet.rows.contract import Column, Contract, Kind
from trivet.rows.values import EXPECTED, MISSING_WORDS, cell_encoder, parse_cell

T = TypeVar("T")

#: What pandas calls the column of its row labels in a Parquet file, when they have no name.
PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_table(path: Path) -> pa.Table:
    """Read a CSV (all columns as text, an empty cell as null) or a Parquet file."""
    reader = _by_ending(path, {".csv": _read_csv, ".parquet": _read_parquet})
    try:
        table = reader(path)
    except FileNotFoundError:
        raise TableError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: can't be read as {path.suffix[1:]}: {reason}") from error
    repeated = [name for name, count in Counter(table.column_names).items() if count > 1]
    if repeated:
        raise TableError(f"{path}: column {repeated[0]!r} appears twice; rename one of the two")
    return table


def write_table(table: pa.Table, path: Path, ending: str) -> None:
    """Write a table as ``ending`` says, whatever the path is called."""
    if ending == ".parquet":
        pa.parquet.write_table(table, path)
        return
    try:
        pa.csv.write_csv(
            table, path, pa.csv.WriteOptions(quoting_style="none", quoting_header="none")
        )
    except pa.ArrowInvalid:  # a text holds a comma, a quote or a newline: then all texts are quoted
        pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="needed"))


def check_ending(path: Path) -> str:
    """The ending of a path that can be written; raises `TableError` for any other."""
    return _by_ending(path, {".csv": ".csv", ".parquet": ".parquet"})


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """A file's columns and their types, as its tables are read: without pandas' row labels."""
    fields = [field for field in schema if not PANDAS_INDEX.fullmatch(field.name)]
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in fields])


def require_columns(columns: Sequence[str], names: Iterable[str], source: Path | str) -> None:
    """Raise `TableError` for the first name that is none of a table's columns."""
    for name in names:
        if name not in columns:
            header = f"; its header is {', '.join(columns)}"
            hint = did_you_mean(name, columns) or header
            raise TableError(f"{source}: no column {name!r}{hint}")


def encode_table(table: pa.Table, contract: Contract, source: Path) -> Rows:
    """Rows of floats, (table rows x features), as `trivet.rows.values` defines them.

    Raises `TableError`, which names row (the first is 1), column and value, for a value that breaks
    the contract.
    """
    absent = absent_columns(table.column_names, contract, source)
    rows = np.full((table.num_rows, len(contract.columns)), np.nan)
    for position, column in enumerate(contract.columns):
        if column.name not in absent:
            rows[:, position] = encode_column(table.column(column.name), column, source)
    return rows


def absent_columns(columns: Sequence[str], contract: Contract, source: Path | str) -> list[str]:
    """Features that a table has no column for: missing in every row.

    Raises `TableError` where one may not be missing, or looks like a column that is misspelt.
    """
    absent = [column for column in contract.columns if column.name not in columns]
    unknown = set(columns) - {*contract.feature_names, *contract.ignored_names}
    for column in absent:
        if not column.nullable or nearest(column.name, unknown):
            require_columns(columns, (column.name,), source)
    return [column.name for column in absent]


def encode_column(values: pa.ChunkedArray, column: Column, source: Path) -> Rows:
    """One column as floats, (table rows,); raises `TableError` as `encode_table` does."""
    numbers = encode_cells(values, column)
    unfit = unfit_cells(numbers, column)
    if unfit.any():
        row = int(unfit.argmax())
        shown = "an empty cell" if np.isnan(numbers[row]) else repr(values[row].as_py())
        raise TableError(
            f"{source}: row {row + 1}, column {column.name!r}: {shown} is not "
            f"{EXPECTED[column.kind]}; correct the cell or leave the row out"
        )
    return numbers


def encode_cells(values: pa.ChunkedArray, column: Column) -> Rows:
    """One column as floats, (table rows,): NaN where missing, infinite where a cell is unfit."""
    numbers = _cast(values, column)
    return _encode_distinct(values, column) if numbers is None else numbers


def unfit_cells(numbers: Rows, column: Column) -> NDArray[np.bool_]:
    """Which of a column's encoded cells break its contract, (table rows,)."""
    unfit = np.isinf(numbers)
    return unfit if column.nullable else unfit | np.isnan(numbers)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def as_json_value(value: Any, kind: Kind) -> object:
    """A cell's value as JSON would hold it; raises `Unfit` for text that holds none."""
    if isinstance(value, str):
        return parse_cell(kind, value)
    if isinstance(value, Decimal):
        return float(value)
    if kind == "timestamp" and isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    return value


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):  # a pandas categorical: its values are what it says
        kind = kind.value_type
    return pa.string() if pa.types.is_string_view(kind) else kind


def _by_ending(path: Path, choices: dict[str, T]) -> T:
    try:
        return choices[path.suffix.lower()]
    except KeyError:
        endings = " or ".join(choices)
        raise TableError(f"{path}: the file's name must end in {endings}") from None


def _read_csv(path: Path) -> pa.Table:
    newlines = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=newlines) as reader:
        header = reader.schema.names
    newlines.ignore_empty_lines = len(header) > 1  # of one column, an empty line is an empty cell
    as_text = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
    )
    return pa.csv.read_csv(path, convert_options=as_text, parse_options=newlines)


def _read_parquet(path: Path) -> pa.Table:
    table = pa.parquet.read_table(path)
    schema = plain_schema(table.schema)
    return table.select(schema.names).cast(schema)


def _cast(values: pa.ChunkedArray, column: Column) -> Rows | None:
    """A column of numbers, cast whole at once; None where that can't be."""
    if column.kind not in ("number", "integer"):
        return None
    if is_text(values.type):
        values = _without_missing_words(values)
    elif not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    try:
        numbers: Rows = values.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowException:
        return None
    if column.kind == "integer":
        fractions = (numbers != np.floor(numbers)) & ~np.isnan(numbers)
        if fractions.any():
            numbers = np.where(fractions, np.inf, numbers)
    return numbers


def python_values(values: pa.Array) -> list[object]:
    """The values of an array; a moment beyond Python's years is its number, as text."""
    try:
        return list(values.to_pylist())
    except (OverflowError, ValueError):
        return [_python_value(value) for value in values]


def _python_value(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return str(value.value)


def _without_missing_words(words: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(words)
    missing = pc.is_in(pc.utf8_lower(trimmed), pa.array(sorted(MISSING_WORDS)))
    return pc.if_else(missing, None, trimmed)


def _encode_distinct(values: pa.ChunkedArray, column: Column) -> Rows:
    """Each different value encoded once, by the encoder that records go through."""
    coded = values.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = pc.dictionary_encode(coded)
    encode = cell_encoder(column, partial(as_json_value, kind=column.kind))
    different = [*python_values(coded.dictionary), None]  # the last is for a cell without a value
    numbers = np.array([encode(value) for value in different])
    positions: NDArray[np.intp] = coded.indices.fill_null(len(different) - 1).to_numpy()
    return numbers[positions]
