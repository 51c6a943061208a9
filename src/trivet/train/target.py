"""The target of the training table: what is to be predicted, and for which rows it is known."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trivet.errors import TrainingError
from trivet.rows.arrays import Rows
from trivet.rows.contract import Column, Kind, Target
from trivet.train.infer import LARGEST_WHOLE, names_rows
from trivet.train.kinds import needed_column, with_categories
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable
from trivet.train.values import Values

#: An integer target with more values than this is a quantity, not a label.
MOST_LABELS = 20

#: Why a target of a kind is learnt as labels if no setting says so.
WHY_LABELS: dict[Kind, str] = {
    "category": "its values are text",
    "boolean": "its values are true and false",
    "integer": f"it has at most {MOST_LABELS} different whole numbers",
    "number": f"it has at most {MOST_LABELS} different whole numbers",
}


class Truth(NamedTuple):
    """The target, its values as floats, (table rows,), and what was decided about it.

    Values are positions in the target's labels, or numbers; NaN where a row has none to learn.
    """

    target: Target
    values: Rows
    why: str
    notes: list[str]


def infer_target(table: TrainingTable, settings: TrainSettings) -> Truth:
    """What is to be predicted; raises `TrainingError` if the column can't be a target."""
    name = settings.target
    values, column = needed_column(table, name, settings, "target")
    column = _with_labels(column, values, table, said=name in settings.kinds)
    numbers = table.encode(values, column)
    distinct = np.unique(numbers[~np.isnan(numbers)])
    if settings.task == "regression" or (
        settings.task is None and _is_quantity(column.kind, distinct)
    ):
        if column.kind not in ("number", "integer"):
            raise TrainingError(
                f"target {name!r} holds {column.kind} values; a regression needs numbers"
            )
        why = "--task" if settings.task else f"{len(distinct):,} different numbers"
        return Truth(Target(name=name, task="regression"), numbers, why, [])
    labels, positions, notes = _learnable(name, _labels(column, distinct), numbers, distinct)
    if settings.task is None and column.kind in ("integer", "number") and len(labels) > 2:
        notes.insert(
            0, f"classification of {len(labels)} labels; --task regression if these are amounts"
        )
    why = "--task" if settings.task else WHY_LABELS[column.kind]
    found = Target(name=name, task="classification", labels=tuple(labels))
    return Truth(found, positions, why, notes)


def _with_labels(column: Column, values: Values, table: TrainingTable, said: bool) -> Column:
    """The column, with its categories if it holds text."""
    name = column.name
    if column.kind == "timestamp":
        raise TrainingError(
            f"target {name!r} is timestamp; it must be numbers or labels (--kind {name}=category "
            "makes its values labels)"
        )
    if column.kind != "category":
        return column
    different, every = values.different(), np.ones(table.rows, dtype=np.bool_)
    if not said and (reason := names_rows(name, different, values.count(every))):
        raise TrainingError(f"target {name!r} is {reason}")
    return with_categories(column, different, table)


def _is_quantity(kind: Kind, distinct: Rows) -> bool:
    has_fractions = bool((distinct != np.floor(distinct)).any())
    return kind in ("number", "integer") and (len(distinct) > MOST_LABELS or has_fractions)


def _labels(column: Column, distinct: Rows) -> list[Any]:
    """The labels that the ``distinct`` numbers of a target stand for, in order."""
    if column.kind == "number" and (distinct != np.floor(distinct)).any():
        raise TrainingError(
            f"target {column.name!r} holds fractions, which can't be labels; use --task regression"
        )
    if np.abs(distinct).max(initial=0) > LARGEST_WHOLE:
        raise TrainingError(
            f"target {column.name!r} holds labels beyond 2^53, which float64 can't hold; use "
            f"--kind {column.name}=category"
        )
    return list(column.categories) or [
        bool(value) if column.kind == "boolean" else int(value) for value in distinct
    ]


def _learnable(
    name: str, labels: list[Any], numbers: Rows, distinct: Rows
) -> tuple[list[Any], Rows, list[str]]:
    """The labels with more than one row, the position of each row's, and what was dropped."""
    positions = np.where(np.isnan(numbers), np.nan, np.searchsorted(distinct, numbers))
    known = positions[~np.isnan(positions)].astype(int)
    single = np.flatnonzero(np.bincount(known, minlength=len(labels)) == 1).tolist()
    positions[np.isin(positions, single)] = np.nan
    positions -= np.searchsorted(single, positions)  # close the gaps of the dropped labels
    notes = [f"label {labels[at]}: its only row is dropped; a label needs two" for at in single]
    labels = [label for at, label in enumerate(labels) if at not in single]
    if len(labels) < 2:
        raise TrainingError(
            f"target {name!r} has {len(labels)} label(s) with more than one row; a classifier "
            "needs two"
        )
    return labels, positions, notes
