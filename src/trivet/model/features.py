"""What an estimator sees: features, each derived from one column of an encoded row.

`Feature` says how one is derived, as plain values that JSON can hold; `Features` derives them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import numpy as np

from trivet.rows.arrays import Floats, Table
from trivet.rows.contract import Frozen

Derived = Literal["value", "missing", "days", "month", "day_of_week", "hour"]

MICROSECONDS_PER_DAY = 86_400_000_000
#: Up to this many rows, deriving value by value is faster than column by column.
FEW_ROWS = 8


class Feature(Frozen):
    """How one feature is derived: ``(derived or, where that is NaN, fill - shift) / scale``.

    Derived is the value of the column; or 1 where it is missing and 0 elsewhere; or a part of a
    timestamp, as `trivet.model.transforms.timestamp_parts` computes it. For a category, ``table``
    maps each position to a value; its last two values are for missing and for unseen. None stands
    for NaN in ``table``, and for no filling in ``fill``.
    """

    column: int
    derive: Derived = "value"
    table: tuple[float | None, ...] | None = None
    fill: float | None = None
    shift: float = 0.0
    scale: float = 1.0

    def of(self, values: Floats) -> Floats:
        """The feature for values of its column, or for values of its table, (values,)."""
        if self.derive == "value":
            derived = values
        elif self.derive == "missing":
            derived = np.isnan(values).astype(np.float64)
        else:
            derived = _timestamp_part(values, self.derive)
        if self.fill is not None:
            derived = np.where(np.isnan(derived), self.fill, derived)
        if self.shift != 0 or self.scale != 1:
            derived = (derived - self.shift) / self.scale
        return derived


class Features:
    """All features of an estimator, in its order."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._groups: list[_Group] = []
        for (_, has_table), some in groupby(features, lambda f: (f.column, f.table is not None)):
            adjacent = list(some)
            groups = [_from_category(adjacent)] if has_table else map(_from_number, adjacent)
            self._groups.extend(groups)
        self._width = len(features)

    def of_rows(self, rows: Floats) -> Table:
        """Features (rows x features) of encoded rows (rows x columns)."""
        groups = self._groups
        if 0 < len(rows) <= FEW_ROWS:
            return [
                [number for group in groups for number in group.of_value(row[group.column])]
                for row in rows.tolist()
            ]
        features = np.empty((len(rows), self._width), order="F")  # filled column by column
        start = 0
        for group in groups:
            end = start + group.width
            features[:, start:end] = group.of_column(rows[:, group.column])
            start = end
        return features


class _Group(NamedTuple):
    """Adjacent features of one column: of one value, or (rows x width) of a column's values."""

    column: int
    width: int
    of_value: Callable[[float], Sequence[float]]
    of_column: Callable[[Floats], Floats]


def _from_category(features: Sequence[Feature]) -> _Group:
    """Features that are looked up together, such as a one-hot encoding."""
    tables = [feature.of(np.array(feature.table, dtype=np.float64)) for feature in features]
    table = np.column_stack(tables)
    rows: list[list[float]] = table.tolist()
    missing = len(table) - 2  # and an unseen category is at -1, the last row

    def of_value(value: float) -> Sequence[float]:
        return rows[missing if value != value else int(value)]

    def of_column(values: Floats) -> Floats:
        return table[np.where(np.isnan(values), missing, values).astype(np.intp)]

    return _Group(features[0].column, len(features), of_value, of_column)


def _from_number(feature: Feature) -> _Group:
    return _Group(feature.column, 1, _of_value(feature), lambda values: feature.of(values)[:, None])


def _of_value(feature: Feature) -> Callable[[float], Sequence[float]]:
    """`Feature.of` for one value, as fast as Python allows."""
    of_missing, of_zero = ([number] for number in feature.of(np.array([np.nan, 0.0])).tolist())
    if feature.derive == "missing":
        return lambda value: of_missing if value != value else of_zero
    if feature.derive != "value":
        return lambda value: feature.of(np.array([value])).tolist()
    shift, scale = feature.shift, feature.scale
    if (shift, scale) == (0, 1):
        return lambda value: of_missing if value != value else (value,)
    return lambda value: of_missing if value != value else ((value - shift) / scale,)


def _timestamp_part(seconds: Floats, part: Derived) -> Floats:
    moments = np.round(seconds * 1e6).astype("datetime64[us]")
    days = moments.astype("datetime64[D]")
    known = ~np.isnat(moments)
    parts = np.full(len(seconds), np.nan)
    if part == "days":
        parts[known] = moments[known].astype(np.int64) / MICROSECONDS_PER_DAY
    elif part == "month":
        parts[known] = days[known].astype("datetime64[M]").astype(np.int64) % 12 + 1
    elif part == "day_of_week":  # 1970-01-01 was a Thursday, and Monday is 0
        parts[known] = (days[known].astype(np.int64) + 3) % 7
    else:
        minutes = (moments[known] - days[known]).astype("timedelta64[m]").astype(np.int64)
        parts[known] = minutes // 60 + minutes % 60 / 60
    return parts
