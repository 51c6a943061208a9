"""The compiled form of a fitted pipeline: plain arrays, evaluated with numpy alone.

It works in three steps: features are derived from a row, a model turns features into scores, and a
link turns scores into probabilities or numbers. `trivet.train.compile` makes all three, and they
are stored as JSON and arrays, so loading one unpickles nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trivet.model.features import Feature, Features
from trivet.model.trees import Forest, MaskedTrees
from trivet.rows.arrays import Floats, Table
from trivet.rows.contract import Frozen

#: The files of a compiled pipeline.
SPEC, ARRAYS = "compiled.json", "compiled.npz"

#: Up to this many rows, all products of a linear model at once are faster than one by one.
FEW_ROWS = 32
#: Values (rows x features) held at once: 8 MB, even where a category has thousands of columns.
MOST_VALUES = 2**20

Link = Literal["identity", "shares", "log", "logit", "softmax"]


class Spec(Frozen):
    """Everything in a compiled pipeline except its arrays."""

    features: tuple[Feature, ...]
    model: Literal["masked_trees", "forest", "linear"]
    link: Link


class CompiledPipeline:
    """A fitted pipeline as arrays: the same answers to the same rows, in a fraction of the time."""

    def __init__(self, spec: Spec, arrays: dict[str, NDArray[Any]]) -> None:
        self.spec, self.arrays = spec, arrays
        self._features = Features(spec.features)
        self._model = MODELS[spec.model](**arrays)
        self._link = LINKS[spec.link]
        self._rows_at_once = max(MOST_VALUES // max(len(spec.features), 1), 1)

    @classmethod
    def load(cls, contents: Mapping[str, bytes]) -> CompiledPipeline:
        """The pipeline that `dump` wrote, from the contents of its files by name."""
        spec = Spec.model_validate_json(contents[SPEC])
        with np.load(io.BytesIO(contents[ARRAYS]), allow_pickle=False) as arrays:
            return cls(spec, dict(arrays))

    def dump(self) -> dict[str, bytes]:
        """The contents of the pipeline's files, by name."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.arrays)
        return {SPEC: self.spec.model_dump_json().encode(), ARRAYS: buffer.getvalue()}

    def answers(self, rows: Floats) -> Floats:
        """Probabilities (rows x labels), or numbers (rows,), for encoded rows (rows x columns)."""
        most = self._rows_at_once
        if len(rows) > most:
            some = [rows[start : start + most] for start in range(0, len(rows), most)]
            return np.concatenate([self.answers(each) for each in some])
        # An extreme score is a probability of 0 or 1; the caller checks that answers are finite.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._link(self._model.scores(self._features.of_rows(rows)))


class Linear:
    """``features @ coefficients + intercept``; ``coefficients`` is (features x scores).

    The products of a row are summed from the first feature to the last, so that its scores do not
    depend on the other rows: a matrix product sums in an order that depends on their number.
    """

    def __init__(self, coefficients: Floats, intercept: Floats) -> None:
        self._coefficients, self._intercept = coefficients, intercept

    def scores(self, features: Table) -> Floats:
        """Weighted sums, (rows x scores), of features, (rows x features)."""
        features = np.asarray(features)
        if len(features) <= FEW_ROWS:
            products = features[:, :, None] * self._coefficients
            sums: Floats = products.cumsum(axis=1)[:, -1]
        else:
            terms = zip(self._coefficients, features.T, strict=True)
            sums = reduce(np.add, (np.multiply.outer(*term) for term in terms)).T
        return np.ascontiguousarray(sums) + self._intercept


MODELS = {"masked_trees": MaskedTrees, "forest": Forest, "linear": Linear}


def _logit(scores: Floats) -> Floats:
    shares = np.empty((len(scores), 2))
    positive = np.divide(1, 1 + np.exp(-scores[:, 0]), out=shares[:, 1])
    np.subtract(1, positive, out=shares[:, 0])
    return shares


def _softmax(scores: Floats) -> Floats:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax: Floats = shares / shares.sum(axis=1, keepdims=True)
    return softmax


LINKS: dict[Link, Callable[[Floats], Floats]] = {
    "identity": lambda scores: scores[:, 0],
    "shares": lambda scores: scores,
    "log": lambda scores: np.exp(scores[:, 0]),
    "logit": _logit,
    "softmax": _softmax,
}
