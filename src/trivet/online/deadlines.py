"""The deadlines of all requests, watched by one task: a timer for each request would cost more."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import cast

Request = asyncio.Task[object]


class Deadlines:
    """Keeps the requests in flight, and cancels those that take too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        #: When each request began, oldest first.
        self._began: dict[Request, float] = {}
        self._late: set[Request] = set()

    def begin(self) -> Request:
        """Start the clock for the request that the current task answers."""
        self._loop = self._loop or asyncio.get_running_loop()
        request = cast(Request, asyncio.current_task(self._loop))
        self._began[request] = perf_counter()
        return request

    def end(self, request: Request) -> None:
        """Forget a request."""
        del self._began[request]
        self._late.discard(request)

    def is_late(self, request: Request) -> bool:
        """Whether the deadline cancelled this request; if so, let its task go on."""
        if request not in self._late:
            return False
        request.uncancel()
        return True

    async def watch(self) -> None:
        """Cancel late requests, looking for them 20 times a deadline; runs until cancelled."""
        while True:
            await asyncio.sleep(self.seconds / 20)
            latest = perf_counter() - self.seconds
            for request, began in self._began.items():
                if began > latest:
                    break
                if request not in self._late:
                    self._late.add(request)
                    request.cancel()
