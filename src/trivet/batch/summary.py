"""What became of the rows of a whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from trivet.batch.tally import QUANTILES, PartResult
from trivet.model.artifact import Manifest
from trivet.rows.contract import Contract, Frozen

#: The quantiles of a regression's predictions that a summary shows.
SHOWN = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: A feature is shown if the share that is missing differs this much from training.
NOTABLE = 0.01


class FeatureRates(Frozen):
    """Shares of the predicted rows, from 0 to 1, and what was missing in training."""

    missing: float
    missing_in_training: float
    unseen: float


class Summary(Frozen):
    """A run: every row is either predicted or rejected.

    ``predictions`` counts labels; of a regression, it has quantiles by share. ``rows_per_second``
    leaves out what a previous run has done. ``absent`` names features without a column,
    ``not_carried`` columns that were found too late to be carried.
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
    not_carried: tuple[str, ...]


def summarise(
    results: Sequence[PartResult],
    manifest: Manifest,
    seconds: float,
    absent: Sequence[str],
    all_carried: bool,
) -> Summary:
    """The summary of all parts; ``all_carried`` says whether all columns should be carried."""
    late = {name for result in results for name in result.late} if all_carried else set()
    contract = manifest.contract
    rows = sum(result.rows for result in results)
    fresh = sum(result.rows for result in results if not result.resumed)
    predicted = sum(result.predicted for result in results)
    rejected = sum((Counter(result.rejected) for result in results), Counter[str]())
    count = max(predicted, 1)
    none = [0] * len(contract.columns)
    missing = np.sum([none, *(result.missing for result in results)], axis=0) / count
    unseen = np.sum([none, *(result.unseen for result in results)], axis=0) / count
    features = {
        column.name: FeatureRates(
            missing=round(float(missing[at]), 6),
            missing_in_training=column.missing,
            unseen=round(float(unseen[at]), 6),
        )
        for at, column in enumerate(contract.columns)
    }
    return Summary(
        model=manifest.name,
        model_version=manifest.version,
        rows=rows,
        predicted=predicted,
        rejected=rejected.total(),
        rejected_by_reason=dict(rejected.most_common()),
        seconds=round(seconds, 3),
        rows_per_second=round(fresh / max(seconds, 1e-9)),
        predictions=_distribution(results, contract),
        features=features,
        absent=tuple(name for name in absent if features[name].missing == 1),
        not_carried=tuple(sorted(late)),
    )


def lines_of(summary: Summary, output: str) -> Iterator[str]:
    """A summary to be read: what became of the rows, and what is unusual about them."""
    model = f"{summary.model} {summary.model_version}"
    yield f"{summary.predicted:,} rows predicted by {model}: {output}"
    became = f"{summary.predicted:,} predicted + {summary.rejected:,} rejected"
    yield f"{summary.rows:,} rows in = {became}; {summary.rows_per_second:,} rows/s"
    for reason, count in summary.rejected_by_reason.items():
        yield f"  rejected {count:,}: {reason}"
    if summary.predictions:
        yield "predictions: " + ", ".join(
            f"{name} {number:,}" for name, number in summary.predictions.items()
        )
    for name, rates in summary.features.items():
        if name in summary.absent:
            yield f"no column {name}: missing in every row"
        elif abs(rates.missing - rates.missing_in_training) > NOTABLE or rates.unseen:
            yield (
                f"{name}: missing {rates.missing:.1%} (training {rates.missing_in_training:.1%})"
                + (f", unseen {rates.unseen:.2%}" if rates.unseen else "")
            )
    for name in summary.not_carried:
        yield (
            f"field {name!r} first occurs after the beginning of a file and was not copied to the "
            "output; name it in --columns"
        )


def _distribution(results: Sequence[PartResult], contract: Contract) -> dict[str, int | float]:
    names = contract.target.label_names
    if names:
        return {name: sum(result.labels.get(name, 0) for result in results) for name in names}
    known = [result for result in results if result.quantiles]
    if not known:
        return {}
    values = np.concatenate([result.quantiles for result in known])
    weights = np.repeat([result.predicted for result in known], QUANTILES)
    quantiles = np.quantile(values, SHOWN, weights=weights, method="inverted_cdf")
    return {f"{share:g}": float(value) for share, value in zip(SHOWN, quantiles, strict=True)}
