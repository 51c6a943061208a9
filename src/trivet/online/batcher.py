"""Micro-batches: requests that are waiting are predicted together, and none waits for more to come.

A request joins the line in the turn of the event loop that reads it, and is predicted in the next
turn: in a batch of many under load, otherwise in a batch of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from trivet.model.predictor import Predictions, Predictor
from trivet.rows.arrays import EncodedRows, Rows

Outcome = Predictions | Exception

#: Requests are batched up to this many rows, so that nothing else waits for long.
ROWS_TOGETHER = 256


class _Request:
    """A request that is waiting for its outcome."""

    __slots__ = ("done", "outcome", "rows")

    def __init__(self, rows: EncodedRows) -> None:
        self.rows = rows
        self.outcome: Outcome | None = None
        self.done: asyncio.Future[None] | None = None

    def result(self) -> Predictions:
        """The predictions for its rows; raises what `Predictor.predict` raised."""
        if isinstance(self.outcome, Predictions):
            return self.outcome
        raise self.outcome or RuntimeError("predicted without an outcome")


class Batcher:
    """Predicts micro-batches on the event loop: for a compiled model, which is fast.

    ``observe`` is called with the rows of each batch.
    """

    def __init__(self, predictor: Predictor, observe: Callable[[Rows], None]) -> None:
        self._predictor, self._observe = predictor, observe
        self._line: deque[_Request] = deque()

    async def predict(self, rows: EncodedRows) -> Predictions:
        """The predictions for these rows; raises what `Predictor.predict` raises.

        A caller that is cancelled before its batch begins is left out of that batch.
        """
        mine = self._join(rows)
        try:
            await asyncio.sleep(0)  # lets all requests that this turn reads get in line
        except asyncio.CancelledError:
            self._leave(mine)
            raise
        while mine.outcome is None:
            self._predict(self._next_batch())
        return mine.result()

    def _join(self, rows: EncodedRows) -> _Request:
        mine = _Request(rows)
        self._line.append(mine)
        return mine

    def _next_batch(self) -> list[_Request]:
        line, batch = self._line, [self._line.popleft()]
        size = len(batch[0].rows)
        while line and size + len(line[0].rows) <= ROWS_TOGETHER:
            size += len(line[0].rows)
            batch.append(line.popleft())
        return batch

    def _predict(self, batch: list[_Request]) -> None:
        """Give each request its outcome; one that fails does not affect the others."""
        try:
            rows = np.concatenate([self._predictor.stack(one.rows) for one in batch])
            together = self._predictor.predict(rows)
            self._observe(rows)
        except Exception as error:
            if len(batch) == 1:
                batch[0].outcome = error
            else:
                for one in batch:
                    self._predict([one])
            return
        end = 0
        for one in batch:
            start, end = end, end + len(one.rows)
            one.outcome = together.some(start, end)

    def _leave(self, mine: _Request) -> None:
        if mine in self._line:
            self._line.remove(mine)


class ThreadBatcher(Batcher):
    """Predicts one batch at a time, in a thread: for a pipeline, which is slow."""

    def __init__(
        self, predictor: Predictor, observe: Callable[[Rows], None], thread: Executor
    ) -> None:
        super().__init__(predictor, observe)
        self._thread, self._busy = thread, False

    async def predict(self, rows: EncodedRows) -> Predictions:
        """As `Batcher.predict`."""
        loop, mine = asyncio.get_running_loop(), self._join(rows)
        mine.done = loop.create_future()
        if not self._busy:
            self._busy = True
            loop.call_soon(self._begin, loop)
        try:
            await mine.done
        except asyncio.CancelledError:
            self._leave(mine)
            raise
        return mine.result()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._busy = bool(self._line)
        if not self._busy:
            return
        batch = [one for one in self._next_batch() if one.done and not one.done.cancelled()]
        if not batch:
            self._begin(loop)
            return

        def end(_: asyncio.Future[None]) -> None:
            for one in batch:
                if one.done and not one.done.done():  # its caller may have given up
                    one.done.set_result(None)
            self._begin(loop)

        loop.run_in_executor(self._thread, self._predict, batch).add_done_callback(end)
