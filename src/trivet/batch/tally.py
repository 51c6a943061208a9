"""What became of the rows of one part."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from trivet.batch.parts import Part
from trivet.batch.predictions import Predicted
from trivet.rows.contract import Contract, Frozen
from trivet.rows.readers.table import Chunk
from trivet.rows.values import UNSEEN

#: A regression's predictions are summed up per part by this many quantiles.
QUANTILES = 101


class PartResult(Frozen):
    """What became of a part's rows. It is written last, so a part that has one is done.

    ``rejected`` counts rows by reason. ``labels`` counts predictions by label; of a regression,
    there are ``quantiles``. ``missing`` and ``unseen`` count values of the predicted rows by
    feature. ``late`` names columns that were found too late to be carried. ``run`` is the run that
    has predicted the part; ``resumed`` says that it was a previous one.
    """

    number: int
    run: str
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
    """Counts the rows of a part while it is predicted."""

    def __init__(self, contract: Contract) -> None:
        self._target = contract.target
        self._rows = self._predicted = 0
        self._rejected: Counter[str] = Counter()
        self._labels: Counter[object] = Counter()
        self._answers: list[NDArray[np.float64]] = [np.empty(0)]
        self._missing = np.zeros(len(contract.columns), dtype=np.int64)
        self._unseen = np.zeros(len(contract.columns), dtype=np.int64)
        self._categories = np.array([column.kind == "category" for column in contract.columns])
        self._late: set[str] = set()

    def add(self, chunk: Chunk, predicted: Predicted) -> None:
        """Count the rows of a chunk, and what became of them."""
        values = predicted.predictions.values
        self._rows += chunk.rows + len(chunk.rejects)
        self._predicted += len(values)
        self._rejected.update(reject.cause for reject in predicted.rejects)
        self._missing += np.isnan(predicted.rows).sum(axis=0)
        self._unseen += (predicted.rows == UNSEEN).sum(axis=0) * self._categories
        self._late |= chunk.late
        if self._target.labels:
            self._labels.update(values)
        else:
            self._answers.append(np.array(values, dtype=np.float64))

    def result(self, part: Part, run: str, shard_bytes: int, rejected_bytes: int) -> PartResult:
        """The counts of a part that is done."""
        names = zip(self._target.labels, self._target.label_names, strict=True)
        answers = np.concatenate(self._answers)
        shares = np.linspace(0, 1, QUANTILES)
        return PartResult(
            number=part.number,
            run=run,
            weight=part.span.weight,
            rows=self._rows,
            predicted=self._predicted,
            rejected=self._rejected,
            labels={name: self._labels[label] for label, name in names},
            quantiles=tuple(np.quantile(answers, shares).tolist()) if len(answers) else (),
            missing=tuple(self._missing.tolist()),
            unseen=tuple(self._unseen.tolist()),
            late=tuple(sorted(self._late)),
            shard_bytes=shard_bytes,
            rejected_bytes=rejected_bytes,
        )
