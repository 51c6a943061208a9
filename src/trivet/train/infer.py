"""From a training table to its contract: what each column is, and which can't be a feature."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.errors import TrainingError
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import encode_cells, is_text, require_columns
from trivet.rows.contract import Column, Contract, Kind, LeftOut, Target
from trivet.rows.values import Unfit, as_json_value, category_text, to_record, to_value
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable
from trivet.train.values import Values

#: An integer target with more values than this is a quantity, not a label.
MOST_LABELS = 20

#: A text column is taken for an identifier if more than this share of its values differ.
NAMES_ROWS = 0.5
WORDS_OF_FREE_TEXT = 4

#: float64 holds every whole number up to this one.
LARGEST_WHOLE = 2**53

EMPTY = "empty: no training row has a value"

#: Common names of identifiers; pandas writes its row labels to a column without a name.
IDENTIFIER_NAME = re.compile(r"|Unnamed: \d+|(.*[_\W])?(id|uuid|guid|key)", re.IGNORECASE)


def infer_target(table: TrainingTable, settings: TrainSettings) -> tuple[Target, Rows]:
    """The target, and its values as floats, (table rows,): positions in ``labels``, or numbers.

    NaN where the target is missing. Raises `TrainingError` where the column can't be a target.
    """
    name = settings.target
    values, kind = needed_column(table, name, settings, "target")
    if kind is None or kind == "timestamp":
        raise TrainingError(
            f"target {name!r} is {kind or values.type}; it must be numbers or labels"
        )
    categories = _categories(name, values.different(), table) if kind == "category" else ()
    column = Column(name=name, kind=kind, nullable=True, missing=0, categories=categories)
    numbers = table.encode(values, column)
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


def needed_column(
    table: TrainingTable, name: str, settings: TrainSettings, role: str
) -> tuple[Values, Kind | None]:
    """A column that training can't do without, and its kind; its ``role`` is for messages.

    Raises `TableError` if there is no such column, and `TrainingError` if it can't be used.
    """
    require_columns(table.names, (name,), table.name)
    if name in table.unusable:
        raise TrainingError(
            f"{role} {name!r} holds {table.unusable[name]}, which training can't use"
        )
    values = table.columns[name]
    return values, settings.kinds.get(name) or infer_kind(name, values, table)


def infer_contract(
    table: TrainingTable, target: Target, training: Mask, held_out: Mask, settings: TrainSettings
) -> tuple[Contract, Rows, Rows]:
    """The contract of a table, and its rows encoded by it: those to fit, and those held out.

    ``training`` and ``held_out`` are (table rows,), the results (their rows x features). Kinds, and
    which columns may be missing, come from all rows; ranges and categories from the training rows
    alone, so a held-out row can hold a category that is unseen. Each column leaves the table once
    it is encoded, so that only one column is in memory twice.
    """
    named = (*settings.identifiers, *settings.exclude, *settings.kinds, *settings.nullable)
    require_columns(table.names, named, table.name)
    names = [name for name in table.names if name not in (target.name, *settings.identifiers)]
    # The space for columns that are left out is never written to, so it takes no memory.
    fitted, kept = (np.empty((mask.sum(), len(names)), order="F") for mask in (training, held_out))
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    for name in names:
        match _infer_column(name, table, training, settings):
            case str(reason):
                left_out.append(LeftOut(name=name, reason=reason))
            case (column, numbers):
                at = len(columns)
                fitted[:, at], kept[:, at] = numbers[training], numbers[held_out]
                columns.append(column)
    pa.default_memory_pool().release_unused()  # the table's memory goes back to the system
    if not columns:
        reasons = _reasons(left_out) or "there is none but the target and identifiers"
        raise TrainingError(f"{table.name}: no column can be a feature: {reasons}")
    contract = Contract(
        columns=tuple(columns),
        target=target,
        identifiers=tuple(settings.identifiers),
        left_out=tuple(left_out),
        example={},
    )
    fitted, kept = fitted[:, : len(columns)], kept[:, : len(columns)]
    example = to_record(_fullest(fitted), contract)
    return contract.model_copy(update={"example": example}), fitted, kept


def infer_kind(name: str, values: Values, table: TrainingTable) -> Kind | None:
    """The kind of a column, from its type or, for text, from its values; None if no kind fits.

    Raises `TrainingError` for text that is mostly numbers.
    """
    if not is_text(values.type):
        return _kind_of_type(values.type)
    different = values.different()
    kinds: tuple[Kind, ...] = ("timestamp",)  # other text in a typed file is meant as text
    if table.untyped:
        if pc.any(pc.match_substring_regex(different, r"^[+-]?0[0-9]")).as_py():
            return "category"  # a code such as 007: a number would lose its zeros
        decimals = pc.any(pc.match_substring_regex(different, r"[.eE]")).as_py()
        kinds = ("number" if decimals else "integer", "number", "boolean", "timestamp")
    for kind in kinds:
        if not np.isinf(encode_cells(different, _column(name, kind))).any():
            return kind
    if "number" in kinds and _nearly_numbers(different):
        numbers = values.encode(_column(name, "number"))
        fault = table.fault(values, _column(name, "number"), int(np.isinf(numbers).argmax()))
        raise TrainingError(f"{fault}; or, if the column holds labels, --kind {name}=category")
    return "category"


def _infer_column(
    name: str, table: TrainingTable, training: Mask, settings: TrainSettings
) -> tuple[Column, Rows] | str:
    """A column and its numbers, (table rows,); or the reason why it can't be a feature."""
    if name in settings.exclude:
        return "excluded by the settings"
    values = table.columns.pop(name, None)
    if name == settings.time_column:
        return "orders the split in time"
    if name == settings.weight_column:
        return "weights the rows"
    if name in table.unusable:
        return f"{table.unusable[name]} can't be a feature"
    if values is None or values.is_empty:
        return EMPTY
    kind = settings.kinds.get(name) or infer_kind(name, values, table)
    if kind is None:
        return f"values of type {values.type} can't be a feature"
    said = name in settings.kinds
    categories: tuple[str, ...] = ()
    if kind == "category":
        known = values.different(training)
        if not said and (reason := _names_rows(name, known, values.count(training))):
            return reason
        categories = _categories(name, known, table)
    column = _column(name, kind).model_copy(update={"categories": categories})
    numbers = table.encode(values, column)
    seen = numbers[training]
    present = seen[~np.isnan(seen)]
    if not len(present):
        return EMPTY
    if not said and (reason := _unusable(name, kind, present, len(seen))):
        return reason
    ordered = kind in ("number", "integer", "timestamp")
    facts = {
        "nullable": bool(np.isnan(numbers).any()) or name in settings.nullable,
        "missing": round(1 - len(present) / len(seen), 6),
        "minimum": to_value(column, present.min()) if ordered else None,
        "maximum": to_value(column, present.max()) if ordered else None,
    }
    return column.model_copy(update=facts), numbers


def _column(name: str, kind: Kind) -> Column:
    return Column(name=name, kind=kind, nullable=True, missing=0)


def _fullest(rows: Rows) -> Rows:
    """The row with the fewest missing values, (features,); the first if there are several."""
    present = np.zeros(len(rows), dtype=np.int32)
    for column in rows.T:
        present += ~np.isnan(column)
    fullest: Rows = rows[present.argmax()]
    return fullest


def _unusable(name: str, kind: Kind, present: Rows, rows: int) -> str | None:
    """Why a column can't be a feature, or None; ``present`` are its values in this many rows."""
    distinct = len(np.unique(present))
    if distinct == 1 and len(present) == rows:
        return "constant: every training row has the same value"
    if kind == "integer" and distinct == len(present) > 1:
        consecutive = present.max() - present.min() == distinct - 1
        if consecutive or IDENTIFIER_NAME.fullmatch(name):
            return _identifier(name, kind, distinct, len(present))
    return None


def _names_rows(name: str, different: pa.Array, present: int) -> str | None:
    """Why a text column names rows instead of describing them, or None if it describes them."""
    distinct = len(different)
    if distinct <= max(NAMES_ROWS * present, 2):
        return None
    words = pc.mean(pc.count_substring_regex(different, r"\S+")).as_py()
    what = "free text" if words >= WORDS_OF_FREE_TEXT else "an identifier in disguise"
    return _identifier(name, "category", distinct, present, what)


def _identifier(
    name: str, kind: Kind, distinct: int, rows: int, what: str = "an identifier in disguise"
) -> str:
    return f"{what}: {distinct} different values in {rows} rows (--kind {name}={kind} keeps it)"


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


def _nearly_numbers(different: pa.Array) -> bool:
    """Whether at least nine in ten of the different texts are numbers."""
    numbers = encode_cells(different, _column("", "number"))
    return bool((~np.isinf(numbers)).sum() >= 0.9 * len(numbers) > 0)


def _categories(name: str, different: pa.Array, table: TrainingTable) -> tuple[str, ...]:
    values = (as_json_value(value, "category") for value in different.to_pylist())
    try:
        return tuple(sorted({text for value in values if (text := category_text(value))}))
    except Unfit:
        raise TrainingError(
            f"{table.name}: column {name!r} of {different.type} values can't hold categories"
        ) from None


def _reasons(left_out: list[LeftOut]) -> str:
    return "; ".join(f"{column.name} ({column.reason})" for column in left_out)
