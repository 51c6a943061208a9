"""Tables on disk, and their way into rows of floats: CSV or Parquet, by the file's ending.

A CSV is read as text and typed by the contract, never by a guess a column: ``"001"`` stays text
where the model was trained on text.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from trivet.contract import Column, Contract, Kind
from trivet.encode import EXPECTED, MISSING_WORDS, Unfit, column_encoder, parse_cell
from trivet.errors import TableError, did_you_mean, nearest

Rows = NDArray[np.float64]
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


def require_columns(table: pa.Table, names: tuple[str, ...], source: Path) -> None:
    """Raise `TableError` for the first name that is no column of the table."""
    for name in names:
        if name not in table.column_names:
            header = f"; its header is {', '.join(table.column_names)}"
            hint = did_you_mean(name, table.column_names) or header
            raise TableError(f"{source}: no column {name!r}{hint}")


def encode_table(table: pa.Table, contract: Contract, source: Path) -> Rows:
    """Rows of floats, (table rows x features), as `trivet.encode` defines them.

    Raises `TableError`, which names row (the first is 1), column and value, for a value that breaks
    the contract.
    """
    absent = absent_columns(table, contract, source)
    rows = np.full((table.num_rows, len(contract.columns)), np.nan)
    for position, column in enumerate(contract.columns):
        if column.name not in absent:
            rows[:, position] = encode_column(table.column(column.name), column, source)
    return rows


def absent_columns(table: pa.Table, contract: Contract, source: Path) -> list[str]:
    """Features that the table has no column for: missing in every row.

    Raises `TableError` where one may not be missing, or looks like a column that is misspelt.
    """
    absent = [column for column in contract.columns if column.name not in table.column_names]
    unknown = set(table.column_names) - {*contract.feature_names, *contract.ignored_names}
    for column in absent:
        if not column.nullable or nearest(column.name, unknown):
            require_columns(table, (column.name,), source)
    return [column.name for column in absent]


def encode_column(values: pa.ChunkedArray, column: Column, source: Path) -> Rows:
    """One column as floats, (table rows,); raises `TableError` as `encode_table` does."""
    numbers = _cast(values, column)
    return _encode_distinct(values, column, source) if numbers is None else numbers


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
    for position, field in enumerate(table.schema):
        plain = field.type
        if pa.types.is_dictionary(plain):  # a pandas categorical: its values are what it says
            plain = plain.value_type
        if pa.types.is_string_view(plain):
            plain = pa.string()
        if plain != field.type:
            table = table.set_column(position, field.name, table.column(position).cast(plain))
    labels = [name for name in table.column_names if PANDAS_INDEX.fullmatch(name)]
    return table.drop_columns(labels)


def _cast(values: pa.ChunkedArray, column: Column) -> Rows | None:
    """A column of numbers, cast whole at once; None where that can't be, or a value is unfit."""
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
    missing = np.isnan(numbers)
    unfit = np.isinf(numbers) | (missing & (not column.nullable))
    if column.kind == "integer":
        unfit |= (numbers != np.floor(numbers)) & ~missing
    return None if unfit.any() else numbers


def _without_missing_words(words: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(words)
    missing = pc.is_in(pc.utf8_lower(trimmed), pa.array(sorted(MISSING_WORDS)))
    return pc.if_else(missing, None, trimmed)


def _encode_distinct(values: pa.ChunkedArray, column: Column, source: Path) -> Rows:
    """Each different value encoded once, by the encoder that records go through."""
    encode = column_encoder(column)
    coded = pc.dictionary_encode(values.combine_chunks(), null_encoding="encode")
    different = coded.dictionary.to_pylist()
    numbers = np.empty(len(different))
    unfit: dict[int, str] = {}
    for position, value in enumerate(different):
        try:
            numbers[position] = encode(as_json_value(value, column.kind))
        except Unfit as error:
            unfit[position] = "an empty cell" if error.code == "missing" else repr(value)
    positions: NDArray[np.intp] = coded.indices.to_numpy()
    if unfit:
        row = int(np.isin(positions, list(unfit)).argmax())
        shown = unfit[int(positions[row])]
        raise TableError(
            f"{source}: row {row + 1}, column {column.name!r}: {shown} is not "
            f"{EXPECTED[column.kind]}; correct the cell or leave the row out"
        )
    return numbers[positions]
