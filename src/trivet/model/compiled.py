"""The fast form of a fitted pipeline: plain arrays, evaluated with numpy alone.

A pipeline is two things, one after the other. Its *inputs* are what the estimator sees, each one a
function of one column of a row. Its *model* turns inputs into scores, and its *link* turns scores
into probabilities or numbers. `trivet.train.compile` makes all three; nothing here is unpickled.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trivet.model.trees import Forest, MaskedTrees
from trivet.rows.arrays import Floats
from trivet.rows.contract import Frozen
from trivet.rows.values import UNSEEN

#: How far, relatively, two ways to the same answer may lie apart.
TOLERANCE = 1e-9

#: The files of a compiled pipeline.
SPEC, ARRAYS = "compiled.json", "compiled.npz"

Part = Literal["value", "missing", "days", "month", "day_of_week", "hour"]
Link = Literal["identity", "shares", "log", "logit", "softmax"]

MICROSECONDS_A_DAY = 86_400_000_000
#: Up to this many rows, making inputs one by one is faster than a column at once.
FEW_ROWS = 8
#: Of so many inputs at once, 8 MB, a column of thousands of categories doesn't fill the memory.
MOST_INPUTS = 2**20


class Input(Frozen):
    """One input of the estimator: ``(part of a column, filled where missing - shift) / scale``.

    ``table`` gives a category's value by its position; its last two values are for missing and for
    unseen. None in it, and for ``fill``, stands for NaN.
    """

    column: int
    part: Part = "value"
    table: tuple[float | None, ...] | None = None
    fill: float | None = None
    shift: float = 0.0
    scale: float = 1.0

    def of_column(self, values: Floats) -> Floats:
        """The input for a column's values, (rows,)."""
        if self.table is not None:
            table = np.array(self.table, dtype=np.float64)
            missing = len(table) - 2
            parts = table[np.where(np.isnan(values), missing, values).astype(np.intp)]
        elif self.part == "value":
            parts = values
        elif self.part == "missing":
            parts = np.isnan(values).astype(np.float64)
        else:
            parts = _part_of_time(values, self.part)
        if self.fill is not None:
            parts = np.where(np.isnan(parts), self.fill, parts)
        if self.shift != 0 or self.scale != 1:
            parts = (parts - self.shift) / self.scale
        return parts


class Linear:
    """``inputs @ coefficients + intercept``; ``coefficients`` is (inputs x outputs)."""

    def __init__(self, coefficients: Floats, intercept: Floats) -> None:
        self._coefficients, self._intercept = coefficients, intercept

    def scores(self, inputs: Floats) -> Floats:
        """Weighted sums, (rows x outputs)."""
        # In rows, because a sum by columns has other last digits, and few rows come in rows.
        sums: Floats = np.ascontiguousarray(inputs) @ self._coefficients
        return sums + self._intercept


MODELS = {"masked_trees": MaskedTrees, "forest": Forest, "linear": Linear}


class Spec(Frozen):
    """All of a compiled pipeline but its arrays."""

    inputs: tuple[Input, ...]
    model: Literal["masked_trees", "forest", "linear"]
    link: Link


class CompiledPipeline:
    """A fitted pipeline as arrays: the same answers to the same rows, in a fraction of the time."""

    def __init__(self, spec: Spec, arrays: dict[str, NDArray[Any]]) -> None:
        self.spec, self.arrays = spec, arrays
        self._model = MODELS[spec.model](**arrays)
        self._groups = _groups(spec.inputs)

    @classmethod
    def load(cls, contents: Mapping[str, bytes]) -> CompiledPipeline:
        """The pipeline that `dump` wrote; nothing is unpickled."""
        spec = Spec.model_validate_json(contents[SPEC])
        with np.load(io.BytesIO(contents[ARRAYS]), allow_pickle=False) as arrays:
            return cls(spec, dict(arrays))

    def dump(self) -> dict[str, bytes]:
        """The pipeline as files: contents by name."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.arrays)
        return {SPEC: self.spec.model_dump_json().encode(), ARRAYS: buffer.getvalue()}

    def answers(self, rows: Floats) -> Floats:
        """Probabilities (rows x labels), or numbers (rows,), for encoded rows (rows x features)."""
        most = max(MOST_INPUTS // max(len(self.spec.inputs), 1), 1)
        if len(rows) > most:
            some = [rows[start : start + most] for start in range(0, len(rows), most)]
            return np.concatenate([self.answers(each) for each in some])
        # A score far out is a probability of 0 or 1; whether an answer is finite, the caller sees.
        with np.errstate(over="ignore", invalid="ignore"):
            return _LINKS[self.spec.link](self._model.scores(self._inputs(rows)))

    def _inputs(self, rows: Floats) -> Floats:
        groups = self._groups
        if len(rows) <= FEW_ROWS:
            few = [
                [number for group in groups for number in group.of_value(row[group.column])]
                for row in rows.tolist()
            ]
            return np.array(few, dtype=np.float64).reshape(len(rows), len(self.spec.inputs))
        inputs = np.empty((len(rows), len(self.spec.inputs)), order="F")  # made column by column
        at = 0
        for group in groups:
            inputs[:, at : at + group.size] = group.of_column(rows[:, group.column])
            at += group.size
        return inputs


def _groups(inputs: Sequence[Input]) -> list[_Group]:
    groups: list[_Group] = []
    for (column, is_table), some in groupby(inputs, lambda each: (each.column, bool(each.table))):
        together = list(some)
        groups += [_Group(column, part) for part in ([together] if is_table else zip(together))]
    return groups


class _Group:
    """The inputs that stand together for one column: several where a category is one-hot."""

    def __init__(self, column: int, inputs: Sequence[Input]) -> None:
        self.column, self.size, self._inputs = column, len(inputs), inputs
        self._table: Floats | None = None
        if inputs[0].table is None:
            self.of_value = _of_value(inputs[0])
        else:  # of every position, then missing, then unseen: -1 is the last by itself
            size = len(inputs[0].table) - 2
            positions = np.array([*range(size), np.nan, UNSEEN])
            self._table = np.column_stack([each.of_column(positions) for each in inputs])
            rows = self._table.tolist()
            self.of_value = lambda value: rows[size if value != value else int(value)]

    def of_column(self, values: Floats) -> Floats:
        """The inputs of a column's values, (rows x inputs of the group)."""
        if self._table is None:
            return self._inputs[0].of_column(values)[:, None]
        missing = len(self._table) - 2
        return self._table[np.where(np.isnan(values), missing, values).astype(np.intp)]


def _of_value(entry: Input) -> Callable[[float], Sequence[float]]:
    """`Input.of_column` for one value, as fast as Python allows."""
    filled, of_zero = ([number] for number in entry.of_column(np.array([np.nan, 0.0])).tolist())
    if entry.part == "missing":
        return lambda value: filled if value != value else of_zero
    if entry.part != "value":
        return lambda value: entry.of_column(np.array([value])).tolist()
    shift, scale = entry.shift, entry.scale
    if (shift, scale) == (0, 1):
        return lambda value: filled if value != value else (value,)
    return lambda value: filled if value != value else ((value - shift) / scale,)


def _part_of_time(seconds: Floats, part: Part) -> Floats:
    """A part of timestamps, as `trivet.pipeline.timestamp_parts` computes it."""
    moments = np.round(seconds * 1e6).astype("datetime64[us]")
    days = moments.astype("datetime64[D]")
    known = ~np.isnat(moments)
    parts = np.full(len(seconds), np.nan)
    if part == "days":
        parts[known] = moments[known].astype(np.int64) / MICROSECONDS_A_DAY
    elif part == "month":
        parts[known] = days[known].astype("datetime64[M]").astype(np.int64) % 12 + 1
    elif part == "day_of_week":  # 1970-01-01 was a Thursday, and Monday is 0
        parts[known] = (days[known].astype(np.int64) + 3) % 7
    else:
        minutes = (moments[known] - days[known]).astype("timedelta64[m]").astype(np.int64)
        parts[known] = minutes // 60 + minutes % 60 / 60
    return parts


def _logit(scores: Floats) -> Floats:
    positive = 1 / (1 + np.exp(-scores[:, 0]))
    return np.column_stack([1 - positive, positive])


def _softmax(scores: Floats) -> Floats:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax: Floats = shares / shares.sum(axis=1, keepdims=True)
    return softmax


_LINKS: dict[Link, Callable[[Floats], Floats]] = {
    "identity": lambda scores: scores[:, 0],
    "shares": lambda scores: scores,
    "log": lambda scores: np.exp(scores[:, 0]),
    "logit": _logit,
    "softmax": _softmax,
}
