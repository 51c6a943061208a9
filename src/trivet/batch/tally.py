"""What became of rows, counted by part and summed up over a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from trivet.batch.parts import Part
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract, Frozen
from trivet.rows.text import Reject
from trivet.rows.values import UNSEEN

#: A regression's answers of a part are kept as so many quantiles.
QUANTILES = 101
#: Those that a summary shows.
SHOWN = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class PartReport(Frozen):
    """What became of a part's rows; written last, it says that the part is done.

    ``rejected`` counts by reason. Of the predictions, ``labels`` counts each label, ``quantiles``
    are a regression's; ``missing`` and ``unseen`` count values of the predicted rows by feature.
    ``resumed`` tells a part that a run before has done.
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
    shard_bytes: int
    rejected_bytes: int
    resumed: bool = False


class Tally:
    """Counts of one part, as it is predicted; ``rows`` are those that were read."""

    def __init__(self, contract: Contract) -> None:
        self.rows = 0
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
        self._rejected.update(_reason(reject) for reject in rejects)

    def report(self, part: Part, shard_bytes: int, rejected_bytes: int) -> PartReport:
        """The counts of a part that is done."""
        answers = np.concatenate(self._answers) if self._answers else np.empty(0)
        shares = np.linspace(0, 1, QUANTILES)
        return PartReport(
            number=part.number,
            weight=part.weight,
            rows=self.rows,
            predicted=self._predicted,
            rejected=self._rejected,
            labels=self._labels,
            quantiles=tuple(np.quantile(answers, shares).tolist()) if len(answers) else (),
            missing=tuple(self._missing.tolist()),
            unseen=tuple(self._unseen.tolist()),
            shard_bytes=shard_bytes,
            rejected_bytes=rejected_bytes,
        )


class FeatureRates(Frozen):
    """Shares of predicted rows, from 0 to 1, beside the share that was missing in training."""

    missing: float
    missing_in_training: float
    unseen: float


class Summary(Frozen):
    """A run: rows in are rows predicted and rows rejected.

    ``predictions`` counts labels, or has quantiles of a regression by share, over parts.
    ``rows_per_second`` leaves out what a run before has done.
    """

    model: str
    model_version: str
    rows: int
    predicted: int
    rejected: int
    rejected_by_reason: dict[str, int]
    seconds: float
    rows_per_second: int
    predictions: dict[str, int | float]
    features: dict[str, FeatureRates]
    absent: tuple[str, ...]


def summarise(
    reports: Sequence[PartReport], manifest: Manifest, seconds: float, absent: Sequence[str]
) -> Summary:
    """All parts of a run together."""
    contract = manifest.contract
    rows = sum(report.rows for report in reports)
    fresh = sum(report.rows for report in reports if not report.resumed)
    predicted = sum(report.predicted for report in reports)
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    count = max(predicted, 1)
    none = [0] * len(contract.columns)
    missing = np.sum([none, *(report.missing for report in reports)], axis=0) / count
    unseen = np.sum([none, *(report.unseen for report in reports)], axis=0) / count
    return Summary(
        model=manifest.name,
        model_version=manifest.version,
        rows=rows,
        predicted=predicted,
        rejected=rejected.total(),
        rejected_by_reason=dict(rejected.most_common()),
        seconds=round(seconds, 3),
        rows_per_second=round(fresh / max(seconds, 1e-9)),
        predictions=_distribution(reports, contract),
        features={
            column.name: FeatureRates(
                missing=round(float(missing[at]), 6),
                missing_in_training=column.missing,
                unseen=round(float(unseen[at]), 6),
            )
            for at, column in enumerate(contract.columns)
        },
        absent=tuple(absent),
    )


def _distribution(reports: Sequence[PartReport], contract: Contract) -> dict[str, int | float]:
    names = contract.target.label_names
    if names:
        return {name: sum(report.labels.get(name, 0) for report in reports) for name in names}
    known = [report for report in reports if report.quantiles]
    if not known:
        return {}
    values = np.concatenate([report.quantiles for report in known])
    weights = np.repeat([report.predicted for report in known], QUANTILES)
    quantiles = np.quantile(values, SHOWN, weights=weights, method="inverted_cdf")
    return {f"{share:g}": float(value) for share, value in zip(SHOWN, quantiles, strict=True)}


def _reason(reject: Reject) -> str:
    return f"{reject.column}: {reject.reason}" if reject.column else reject.reason
