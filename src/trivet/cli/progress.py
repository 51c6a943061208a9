"""How far a run is, on stderr: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from time import monotonic
from typing import Any

import click

#: Seconds between two lines of a log.
EVERY = 10.0
#: From this many rows on, a step takes so long that it is named.
LARGE = 100_000


class Progress(ExitStack):
    """Shows progress each time it is called; the first call starts the clock."""

    _bar: Any = None
    _started = _shown = 0.0
    _rows = 0

    def __call__(self, rows: int, done: int, total: int) -> None:
        """So many rows and bytes are done so far, of ``total`` bytes."""
        now, self._rows = monotonic(), rows
        if not self._started:
            self._started = self._shown = now
            if sys.stderr.isatty():
                self._bar = self.enter_context(_bar(total))
        seconds = now - self._started
        text = f"{rows:,} rows, {rows / max(seconds, 1e-9):,.0f} rows/s"
        if self._bar:
            self._bar.length = total
            self._bar.update(done - self._bar.pos, text)
        elif now - self._shown >= EVERY:
            self._shown = now
            left = (total - done) * seconds / max(done, 1)
            click.echo(f"{text}, {done / max(total, 1):.0%} done, {left:,.0f} s left", err=True)

    def step(self, name: str) -> None:
        """Reading is over and another step begins, which is worth a line for a large table."""
        if self._bar:
            self.close()
            self._bar = None
        if self._rows >= LARGE:
            click.echo(name, err=True)


def _bar(total: int) -> Any:
    return click.progressbar(length=total, file=sys.stderr, item_show_func=lambda text: text)
