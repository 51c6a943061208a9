"""How a service stops: it keeps answering for a while, but is no longer ready."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import parent_process


class Drain:
    """Whether the service has been told to stop; ``seconds`` pass before it does.

    In that time a load balancer sees that it should send no more requests here, and the ones that
    it has sent are answered.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.begun = False

    def on_signals(self) -> None:
        """Drain first, from now on, when SIGTERM or SIGINT arrives; needs a running event loop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            stop = signal.getsignal(number)
            if threading.current_thread() is not threading.main_thread() or not callable(stop):
                return  # within a test: signals belong to the main thread
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(number, self._begin, partial(stop, number, None))

    def _begin(self, stop: Callable[[], object]) -> None:
        self.begun = True
        asyncio.get_running_loop().call_later(self._seconds, stop)


async def follow_parent() -> None:
    """Stop as on SIGTERM if this worker's parent process is killed: it could not pass that on."""
    if parent := parent_process():
        while parent.is_alive():
            await asyncio.sleep(1)
        signal.raise_signal(signal.SIGTERM)
