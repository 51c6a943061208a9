"""From a training table to its contract: what each column is, and which can't be a feature."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.errors import TableError, TrainingError
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import as_json_value, encode_column, encode_table, is_text, require_columns
from trivet.rows.contract import Column, Contract, Kind, LeftOut, Target
from trivet.rows.values import Unfit, category_text, parse_cell, to_record, to_value
from trivet.train.settings import TrainSettings

#: An integer target with more values than this is a quantity, not a label.
MOST_LABELS = 20

#: From this share of different values on, a text column names rows instead of describing them.
NAMES_ROWS = 0.5
WORDS_OF_FREE_TEXT = 4

#: Up to here float64 holds every whole number.
LARGEST_WHOLE = 2**53

EMPTY = "empty: no training row has a value"

#: What identifiers are often called; pandas writes its row labels to a column without a name.
IDENTIFIER_NAME = re.compile(r"|Unnamed: \d+|(.*[_\W])?(id|uuid|guid|key)", re.IGNORECASE)


def infer_target(table: pa.Table, settings: TrainSettings) -> tuple[Target, Rows]:
    """The target, and its values as floats, (table rows,): positions in ``labels``, or numbers.

    NaN where the target is missing. Raises `TrainingError` where the column can't be a target.
    """
    name = settings.target
    require_columns(table.column_names, (name,), settings.data)
    values = table.column(name)
    kind = settings.kinds.get(name) or infer_kind(name, values, settings)
    if kind is None or kind == "timestamp":
        raise TrainingError(
            f"target {name!r} is {kind or values.type}; it must be numbers or labels"
        )
    categories = _categories(name, values, settings) if kind == "category" else ()
    column = Column(name=name, kind=kind, nullable=True, missing=0, categories=categories)
    numbers = encode_column(values, column, settings.data)
    distinct = np.unique(numbers[~np.isnan(numbers)])
    if settings.task == "regression" or (settings.task is None and _is_quantity(kind, distinct)):
        if kind not in ("number", "integer"):
            raise TrainingError(f"target {name!r} holds {kind} values; a regression needs numbers")
        return Target(name=name, task="regression"), numbers
    if kind == "number" and (distinct != np.floor(distinct)).any():
        raise TrainingError(
            f"target {name!r} holds fractions, which can't be labels; use --task regression"
        )
    if np.abs(distinct).max(initial=0) > LARGEST_WHOLE:
        raise TrainingError(f"target {name!r} holds labels beyond 2^53, which float64 can't hold")
    labels: list[Any] = list(categories) or [
        bool(value) if kind == "boolean" else int(value) for value in distinct
    ]
    if len(labels) < 2:
        raise TrainingError(f"target {name!r} has {len(labels)} label(s); a classifier needs two")
    positions = np.where(np.isnan(numbers), np.nan, np.searchsorted(distinct, numbers))
    return Target(name=name, task="classification", labels=tuple(labels)), positions


def infer_contract(
    table: pa.Table, target: Target, training: Mask, settings: TrainSettings
) -> tuple[Contract, Rows]:
    """The contract of a table, and the table's rows encoded by it, (table rows x features).

    ``training`` (table rows,) marks the rows that the model may see.

    Kinds, and which columns may be missing, come from all rows; ranges and categories from the
    training rows alone, so a held-out row can hold a category that is unseen.
    """
    named = (*settings.identifiers, *settings.exclude, *settings.kinds, *settings.nullable)
    require_columns(table.column_names, named, settings.data)
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    for name in table.column_names:
        if name == target.name or name in settings.identifiers:
            continue
        column = _infer_column(name, table.column(name), training, settings)
        if isinstance(column, Column):
            columns.append(column)
        else:
            left_out.append(LeftOut(name=name, reason=column))
    if not columns:
        raise TrainingError(f"{settings.data}: no column can be a feature: {_reasons(left_out)}")
    contract = Contract(
        columns=tuple(columns),
        target=target,
        identifiers=settings.identifiers,
        left_out=tuple(left_out),
        example={},
    )
    rows = encode_table(table, contract, settings.data)
    fullest = np.flatnonzero(training)[np.isfinite(rows[training]).sum(axis=1).argmax()]
    example = to_record(rows[fullest], contract)
    return contract.model_copy(update={"example": example}), rows


def infer_kind(name: str, values: pa.ChunkedArray, settings: TrainSettings) -> Kind | None:
    """The kind of a column, from its type or, for text, its values; None where no kind fits.

    Raises `TrainingError` for text that is numbers but for a few cells.
    """
    if not is_text(values.type):
        return _kind_of_type(values.type)
    kinds: tuple[Kind, ...] = ("timestamp",)  # what else is text in a typed file is meant as text
    if settings.data.suffix.lower() == ".csv":
        if pc.any(pc.match_substring_regex(values, r"^[+-]?0[0-9]")).as_py():
            return "category"  # a code such as 007: a number would lose its zeros
        decimals = pc.any(pc.match_substring_regex(values, r"[.eE]")).as_py()
        kinds = ("number" if decimals else "integer", "number", "boolean", "timestamp")
    trouble: dict[Kind, TableError] = {}
    for kind in kinds:
        column = Column(name=name, kind=kind, nullable=True, missing=0)
        try:
            encode_column(values, column, settings.data)
            return kind
        except TableError as error:
            trouble[kind] = error
    if "number" in trouble and _nearly_numbers(values):
        raise TrainingError(
            f"{trouble['number']}; or, if the column holds labels, --kind {name}=category"
        )
    return "category"


def _infer_column(
    name: str, values: pa.ChunkedArray, training: Mask, settings: TrainSettings
) -> Column | str:
    """The column, or the reason why it can't be a feature."""
    if name == settings.time_column:
        return "orders the split in time"
    if name in settings.exclude:
        return "excluded by the settings"
    if values.null_count == len(values):
        return EMPTY
    kind = settings.kinds.get(name) or infer_kind(name, values, settings)
    if kind is None:
        return f"values of type {values.type} can't be a feature"
    seen_values = values.filter(pa.array(training))
    known = _categories(name, seen_values, settings) if kind == "category" else ()
    column = Column(name=name, kind=kind, nullable=True, missing=0, categories=known)
    numbers = encode_column(values, column, settings.data)
    seen = numbers[training]
    present = seen[~np.isnan(seen)]
    if not len(present):
        return EMPTY
    if name not in settings.kinds and (reason := _unusable(name, kind, known, present, len(seen))):
        return reason
    ordered = kind in ("number", "integer", "timestamp")
    return column.model_copy(
        update={
            "nullable": bool(np.isnan(numbers).any()) or name in settings.nullable,
            "missing": round(1 - len(present) / len(seen), 6),
            "minimum": to_value(column, present.min()) if ordered else None,
            "maximum": to_value(column, present.max()) if ordered else None,
        }
    )


def _unusable(
    name: str, kind: Kind, categories: tuple[str, ...], present: Rows, rows: int
) -> str | None:
    distinct = len(np.unique(present))
    if distinct == 1 and len(present) == rows:
        return "constant: every training row has the same value"
    different = f"{distinct} different values in {len(present)} rows"
    if kind == "integer" and distinct == len(present) > 1:
        consecutive = present.max() - present.min() == distinct - 1
        if consecutive or IDENTIFIER_NAME.fullmatch(name):
            return f"an identifier in disguise: {different} (--kind {name}=integer keeps it)"
    if kind == "category" and distinct > NAMES_ROWS * len(present) and distinct > 2:
        words = sum(len(text.split()) for text in categories) / len(categories)
        what = "free text" if words >= WORDS_OF_FREE_TEXT else "an identifier in disguise"
        return f"{what}: {different} (--kind {name}=category keeps it)"
    return None


def _is_quantity(kind: Kind, distinct: Rows) -> bool:
    if kind not in ("number", "integer"):
        return False
    return len(distinct) > MOST_LABELS or bool((distinct != np.floor(distinct)).any())


def _kind_of_type(kind: pa.DataType) -> Kind | None:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    return None


def _nearly_numbers(values: pa.ChunkedArray) -> bool:
    """Whether at least nine in ten of the different texts are numbers."""
    different = pc.unique(values).drop_null().to_pylist()

    def is_number(text: str) -> bool:
        try:
            parse_cell("number", text)
        except Unfit:
            return False
        return True

    return sum(map(is_number, different)) >= 0.9 * len(different) > 0


def _categories(name: str, values: pa.ChunkedArray, settings: TrainSettings) -> tuple[str, ...]:
    different = (as_json_value(value, "category") for value in pc.unique(values).to_pylist())
    try:
        return tuple(sorted({text for value in different if (text := category_text(value))}))
    except Unfit:
        raise TrainingError(
            f"{settings.data}: column {name!r} of {values.type} values can't hold categories"
        ) from None


def _reasons(left_out: list[LeftOut]) -> str:
    return "; ".join(f"{column.name} ({column.reason})" for column in left_out)
