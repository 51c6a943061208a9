"""How a service stops: it keeps answering for a while, but is no longer ready."""

from __future__ import annotations

import asyncio
import os
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

    def on_signals(self, on_hangup: Callable[[], None] | None) -> None:
        """From now on, drain before a signal ends the service; needs a running event loop.

        SIGHUP ends it, too, unless ``on_hangup`` is to be called, or it is ignored, as after nohup.
        """
        stop = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(stop):
            return  # within a test: signals belong to the main thread
        loop = asyncio.get_running_loop()

        def drain(number: int) -> None:
            self.begun = True
            loop.call_later(self._seconds, stop, number, None)

        loop.add_signal_handler(signal.SIGTERM, drain, signal.SIGTERM)
        loop.add_signal_handler(signal.SIGINT, drain, signal.SIGINT)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, on_hangup or partial(drain, signal.SIGTERM))


async def follow_parent() -> None:
    """Stop as on SIGTERM once this worker's supervisor, or the server that forked it, is killed.

    A dead supervisor passes no signal on. Without that server, it takes the worker for dead.
    """
    forked_by = os.getppid()
    if parent := parent_process():
        while parent.is_alive() and os.getppid() == forked_by:
            await asyncio.sleep(1)
        signal.raise_signal(signal.SIGTERM)
