"""What became of the rows of one part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trivet.batch.parts import Part
from trivet.model.predictor import Predictions
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract, Frozen
from trivet.rows.rejects import Reject
from trivet.rows.values import UNSEEN

#: A regression's answers of a part are kept as so many quantiles.
QUANTILES = 101


class PartResult(Frozen):
    """What became of a part's rows; written last, it says that the part is done.

    ``rejected`` counts by reason. Of the predictions, ``labels`` counts each label, ``quantiles``
    are a regression's; ``missing`` and ``unseen`` count values of the predicted rows by feature.
    ``late`` are columns that came too late to be carried. ``resumed`` marks a part that a previous
    run has done.
    """

    number: int
    weight: int
    rows: int
    predicted: int
    rejected: dict[str, int]
    labels: dict[str, int]
    quantiles: tuple[float, ...]
    missing: tuple[int, ...]
    unseen: tuple[int, ...]
    late: tuple[str, ...] = ()
    shard_bytes: int
    rejected_bytes: int
    resumed: bool = False


class Tally:
    """Counts of one part while it is predicted.

    ``rows`` counts the rows that were read, ``late`` collects columns that came too late.
    """

    def __init__(self, contract: Contract) -> None:
        self.rows = 0
        self.late: set[str] = set()
        self._target = contract.target
        self._predicted = 0
        self._rejected: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._answers: list[NDArray[np.float64]] = []
        self._missing = np.zeros(len(contract.columns), dtype=np.int64)
        self._unseen = np.zeros(len(contract.columns), dtype=np.int64)
        self._categories = np.array([column.kind == "category" for column in contract.columns])

    def add(self, rows: Rows, predictions: Predictions) -> None:
        """Count predicted rows, (n x features)."""
        self._predicted += len(predictions.values)
        self._missing += np.isnan(rows).sum(axis=0)
        self._unseen += (rows == UNSEEN).sum(axis=0) * self._categories
        if self._target.labels:
            counts = Counter(predictions.values)
            names = zip(self._target.labels, self._target.label_names, strict=True)
            self._labels.update({name: counts[label] for label, name in names})
        else:
            self._answers.append(np.array(predictions.values, dtype=np.float64))

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Count rows that are set aside."""
        self._rejected.update(reject.cause for reject in rejects)

    def result(self, part: Part, shard_bytes: int, rejected_bytes: int) -> PartResult:
        """The counts of a part that is done."""
        answers = np.concatenate(self._answers) if self._answers else np.empty(0)
        shares = np.linspace(0, 1, QUANTILES)
        return PartResult(
            number=part.number,
            weight=part.span.weight,
            rows=self.rows,
            predicted=self._predicted,
            rejected=self._rejected,
            labels=self._labels,
            quantiles=tuple(np.quantile(answers, shares).tolist()) if len(answers) else (),
            missing=tuple(self._missing.tolist()),
            unseen=tuple(self._unseen.tolist()),
            late=tuple(sorted(self.late)),
            shard_bytes=shard_bytes,
            rejected_bytes=rejected_bytes,
        )
