"""The summary of a run as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from trivet.batch.tally import Summary

#: A feature is shown if it is missing this much more, or less, often than in training.
NOTABLE = 0.01


def lines_of(summary: Summary, output: str) -> Iterator[str]:
    """A summary for people: what became of the rows, and what is unusual about them."""
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
