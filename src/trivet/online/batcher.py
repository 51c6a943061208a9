"""Micro-batches: what is waiting is predicted together, and nobody waits for others to come.

A request is added in the turn of the event loop in which it is read, and its batch is predicted in
the next one: under load that is a batch of many requests, else a batch of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import chain
from typing import NamedTuple

from trivet.predictor import Predictions, Predictor, Rows

EncodedRows = list[list[float]]

#: No more rows than this are predicted together, so that nothing else waits for long.
ROWS_TOGETHER = 256


class _Waiting(NamedTuple):
    rows: EncodedRows
    answer: asyncio.Future[Predictions]


class Batcher:
    """Predicts rows in micro-batches: on the event loop, or in a thread where one is given.

    ``observe`` is told the rows of each batch, in the thread that predicts.
    """

    def __init__(
        self, predictor: Predictor, thread: Executor | None, observe: Callable[[Rows], None]
    ) -> None:
        self._predictor, self._thread, self._observe = predictor, thread, observe
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def predict(self, rows: EncodedRows) -> Predictions:
        """The predictions of these rows alone; raises what `Predictor.predict` raises.

        A caller that is cancelled before its batch begins is left out of it.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        waiting = _Waiting(rows, loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._next, loop)
        return await waiting.answer

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        self._busy = bool(batch)
        if not batch:
            return
        if self._thread is None:
            self._deliver(batch, self._outcomes([each.rows for each in batch]))
            loop.call_soon(self._next, loop)
            return
        work = loop.run_in_executor(self._thread, self._outcomes, [each.rows for each in batch])

        def deliver(done: asyncio.Future[list[Predictions | Exception]]) -> None:
            self._deliver(batch, done.result())
            self._next(loop)

        work.add_done_callback(deliver)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].rows) <= ROWS_TOGETHER):
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                size += len(waiting.rows)
        return batch

    def _outcomes(self, batch: list[EncodedRows]) -> list[Predictions | Exception]:
        """What came of each request; one that fails does not touch the others."""
        try:
            rows = self._predictor.stack(list(chain.from_iterable(batch)))
            together = self._predictor.predict(rows)
        except Exception as error:
            return [error] if len(batch) == 1 else [self._outcomes([one])[0] for one in batch]
        self._observe(rows)
        outcomes: list[Predictions | Exception] = []
        end = 0
        for some in batch:
            start, end = end, end + len(some)
            outcomes.append(together.some(start, end))
        return outcomes

    def _deliver(self, batch: list[_Waiting], outcomes: list[Predictions | Exception]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.answer.done():
                continue  # its caller gave up
            if isinstance(outcome, Exception):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)
