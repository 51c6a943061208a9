"""How much each row counts when a pipeline is fitted: by its label, and by a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trivet.errors import SettingsError, TableError, TrainingError, did_you_mean
from trivet.rows.arrays import Mask, Rows
from trivet.rows.contract import Target
from trivet.train.kinds import needed_column
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable

FROM_0 = "a weight is a number from 0"
#: The most rows that an error names.
NAMED = 3


def class_weight(target: Target, params: Mapping[str, Any]) -> Any:
    """The weights of labels in ``params``: ``balanced``, or by name; None if there are none.

    They are not left to the estimator: some take them by position, or refuse labels that are text.
    """
    given = params.get("class_weight")
    meant = given == "balanced" or isinstance(given, Mapping)
    return given if meant and target.task == "classification" else None


def row_weights(
    table: TrainingTable, target: Target, values: Rows, training: Mask, settings: TrainSettings
) -> Rows | None:
    """The weight of each training row, (training rows,); None if all count the same.

    ``values`` is the target and ``training`` the rows to fit, both (table rows,). Raises
    `SettingsError`, `TableError` or `TrainingError`.
    """
    given = class_weight(target, settings.params)
    weights = _of_column(table, ~np.isnan(values), training, settings)
    if given is None:
        return weights
    positions = values[training].astype(int)
    by_label: Rows = _of_labels(target, given, positions)[positions]
    return by_label if weights is None else by_label * weights


def _of_column(
    table: TrainingTable, known: Mask, training: Mask, settings: TrainSettings
) -> Rows | None:
    name = settings.weight_column
    if name is None:
        return None
    cells, column = needed_column(table, name, settings, "weight column")
    if column.kind not in ("number", "integer"):
        raise TrainingError(f"weight column {name!r} is {column.kind}; it must hold numbers")
    weights = table.encode(cells, column)
    wrong = np.flatnonzero(known & ~(weights >= 0))
    if len(wrong):
        found = ((cells.value(row), table.where(row)) for row in wrong[:NAMED].tolist())
        named = (f"{'no value' if each is None else repr(each)} in {at}" for each, at in found)
        count = f" ({len(wrong):,} rows in all)" if len(wrong) > NAMED else ""
        raise TableError(f"weight column {name!r} holds {', '.join(named)}{count}; {FROM_0}")
    if not weights[training].any():
        raise TrainingError(f"weight column {name!r}: no row to fit has a weight above 0")
    return weights[training]


def _of_labels(target: Target, given: Any, positions: Any) -> Rows:
    """The weight of each label, (labels,); ``positions`` (rows,) are the labels of the rows."""
    names = target.label_names
    if given == "balanced":
        return len(positions) / (len(names) * np.bincount(positions, minlength=len(names)))
    weights = np.ones(len(names))
    for label, weight in given.items():
        name = label if isinstance(label, str) else str(label).lower()
        if name not in names:
            hint = did_you_mean(name, names) or f"; the labels are {', '.join(names)}"
            raise SettingsError(f"class_weight: {target.name!r} has no label {name!r}{hint}")
        if not isinstance(weight, int | float) or not 0 <= weight < np.inf:
            raise SettingsError(f"class_weight of {name!r} is {weight!r}; {FROM_0}")
        weights[names.index(name)] = weight
    return weights
