"""From a training table to its contract: what each column is, and which can't be a feature."""

from __future__ import annotations

import re
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trivet.errors import TrainingError
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import require_columns
from trivet.rows.contract import Column, Contract, Kind, LeftOut, Target
from trivet.rows.values import to_record, to_value
from trivet.train.kinds import infer_column, with_categories
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable

#: A text column is taken for an identifier if more than this share of its values differ.
NAMES_ROWS = 0.5
WORDS_OF_FREE_TEXT = 4

#: float64 holds every whole number up to this one.
LARGEST_WHOLE = 2**53

EMPTY = "empty: no training row has a value"

#: Common names of identifiers; pandas writes its row labels to a column without a name.
IDENTIFIER_NAME = re.compile(
    r"|Unnamed: \d+|row_?names?|(.*[_\W])?(id|uuid|guid|key)", re.IGNORECASE
)


def infer_contract(
    table: TrainingTable, target: Target, training: Mask, held_out: Mask, settings: TrainSettings
) -> tuple[Contract, Rows, Rows]:
    """The contract of a table, and its rows encoded by it: those to fit, and those held out.

    ``training`` and ``held_out`` are (table rows,), the results (their rows x features). Kinds, and
    which columns may be missing, come from all rows; ranges and categories from the training rows
    alone, so a held-out row can hold a category that is unseen. Each column leaves the table once
    it is encoded, so that only one column is in memory twice.
    """
    lists = (settings.identifiers, settings.exclude, settings.kinds, settings.forms)
    require_columns(table.names, chain(*lists, settings.nullable), table.name)
    names = [name for name in table.names if name not in (target.name, *settings.identifiers)]
    # The space for columns that are left out is never written to, so it takes no memory.
    fitted, kept = (np.empty((mask.sum(), len(names)), order="F") for mask in (training, held_out))
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    for name in names:
        match _infer_feature(name, table, training, settings):
            case str(reason):
                left_out.append(LeftOut(name=name, reason=reason))
            case (column, numbers):
                at = len(columns)
                fitted[:, at], kept[:, at] = numbers[training], numbers[held_out]
                columns.append(column)
    pa.default_memory_pool().release_unused()  # the table's memory goes back to the system
    if not columns:
        reasons = "; ".join(f"{column.name} ({column.reason})" for column in left_out)
        reasons = reasons or "there is none but the target and identifiers"
        raise TrainingError(f"{table.name}: no column can be a feature: {reasons}")
    contract = Contract(
        columns=tuple(columns),
        target=target,
        identifiers=tuple(settings.identifiers),
        left_out=tuple(left_out),
        missing_words=tuple(settings.na_values),
        example={},
    )
    fitted, kept = fitted[:, : len(columns)], kept[:, : len(columns)]
    example = to_record(_fullest(fitted), contract)
    return contract.model_copy(update={"example": example}), fitted, kept


def _infer_feature(
    name: str, table: TrainingTable, training: Mask, settings: TrainSettings
) -> tuple[Column, Rows] | str:
    """A feature and its numbers, (table rows,); or the reason why its column can't be one."""
    if name in settings.exclude:
        return "excluded by the settings"
    values = table.columns.pop(name, None)
    if name == settings.time_column:
        return "orders the split in time"
    if name == settings.group_column:
        return "keeps rows together in the split"
    if name == settings.weight_column:
        return "weights the rows"
    if name in table.unusable:
        return f"{table.unusable[name]} can't be a feature"
    if values is None or values.is_empty:
        return EMPTY
    column = infer_column(name, values, table, settings)
    if isinstance(column, str):
        return column
    kind, said = column.kind, name in settings.kinds
    if kind == "category":
        known = values.different(training)
        if not said and (reason := names_rows(name, known, values.count(training))):
            return reason
        column = with_categories(column, known, table)
    numbers = table.encode(values, column)
    seen = numbers[training]
    present = seen[~np.isnan(seen)]
    if not len(present):
        return EMPTY
    if not said and (reason := _unusable(name, kind, present, len(seen))):
        return reason
    if not said and kind == "integer" and _numbers_rows(every := numbers[~np.isnan(numbers)]):
        return _identifier(name, kind, len(every), len(every))
    ordered = kind in ("number", "integer", "timestamp")
    facts = {
        "nullable": bool(np.isnan(numbers).any()) or name in settings.nullable,
        "missing": round(1 - len(present) / len(seen), 6),
        "minimum": to_value(column, present.min()) if ordered else None,
        "maximum": to_value(column, present.max()) if ordered else None,
    }
    return column.model_copy(update=facts), numbers


def _fullest(rows: Rows) -> Rows:
    """The row with the fewest missing values, (features,); the first if there are several."""
    present = np.zeros(len(rows), dtype=np.int32)
    for column in rows.T:
        present += ~np.isnan(column)
    fullest: Rows = rows[present.argmax()]
    return fullest


def _unusable(name: str, kind: Kind, present: Rows, rows: int) -> str | None:
    """Why a column can't be a feature, or None; ``present`` are its values in this many rows."""
    if kind == "integer" and np.abs(present).max() > LARGEST_WHOLE:
        return (
            "whole numbers beyond 2^53 lose digits as a feature "
            f"(--id {name} carries them along, --kind {name}=category tells them apart, "
            f"--kind {name}=number rounds them)"
        )
    distinct = len(np.unique(present))
    if distinct == 1 and len(present) == rows:
        return "constant: every training row has the same value"
    if kind == "integer" and distinct == len(present) > 1:
        consecutive = present.max() - present.min() == distinct - 1
        if consecutive or IDENTIFIER_NAME.fullmatch(name):
            return _identifier(name, kind, distinct, len(present))
    return None


def _numbers_rows(values: Rows) -> bool:
    """Whether these values, of all rows, count the rows from 0 or 1, in whatever order."""
    counts = values.max() - values.min() == len(values) - 1 and values.min() in (0, 1)
    return bool(counts and len(values) > 2 and len(np.unique(values)) == len(values))


def names_rows(name: str, different: pa.Array, present: int) -> str | None:
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
