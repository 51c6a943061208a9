"""How far a run is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

import click

from trivet.batch.summary import Summary
from trivet.batch.tally import PartResult

#: Seconds between two lines of a log.
EVERY = 10.0
#: A feature is shown where it is missing so much more often, or less, than in training.
NOTABLE = 0.01


def shown(reports: Iterable[PartResult], total: int) -> Iterator[PartResult]:
    """The reports of parts, as they are done; ``total`` is the bytes of all parts."""
    return (_bar if sys.stderr.isatty() else _lines)(reports, total)


def _bar(reports: Iterable[PartResult], total: int) -> Iterator[PartResult]:
    pace = _Pace(total)
    with click.progressbar(  # type: ignore[var-annotated] # of no items, but of bytes
        length=total, file=sys.stderr, item_show_func=lambda _: pace.text
    ) as bar:
        for report in reports:
            pace.add(report)
            bar.update(report.weight, report)
            yield report


def _lines(reports: Iterable[PartResult], total: int) -> Iterator[PartResult]:
    pace, last = _Pace(total), time.monotonic()
    for report in reports:
        pace.add(report)
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            click.echo(f"{pace.text}, {pace.share:.0%} done, {pace.left:,.0f} s left", err=True)
        yield report


class _Pace:
    def __init__(self, total: int) -> None:
        self._total, self._weight, self._rows = max(total, 1), 0, 0
        self._resumed, self._resumed_rows = 0, 0
        self._started = time.monotonic()

    def add(self, report: PartResult) -> None:
        self._weight += report.weight
        self._rows += report.rows
        if report.resumed:
            self._resumed += report.weight
            self._resumed_rows += report.rows

    @property
    def share(self) -> float:
        return min(self._weight / self._total, 1.0)

    @property
    def left(self) -> float:
        """Seconds until all is done, if it goes on like this."""
        fresh = self._weight - self._resumed
        seconds = time.monotonic() - self._started
        return max(self._total - self._weight, 0) * seconds / fresh if fresh else 0.0

    @property
    def text(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self._rows - self._resumed_rows) / seconds
        return f"{self._rows:,} rows, {rate:,.0f} rows/s"


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
