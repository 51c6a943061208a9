"""Signs of life: the event loop of each worker notes the time, and their parent process reads it.

A worker that answers no signal, or whose event loop is held up, falls silent.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path

from trivet.online.metrics import DIRECTORY

#: Seconds between two beats.
BEAT_EVERY = 0.5


async def beat() -> None:
    """Note the time in a file, until cancelled, if this is one of several workers."""
    if parent_process() is None or DIRECTORY not in os.environ:
        return
    # The file stays open: there may be no descriptor later. Without room for it there is no beat,
    # and the worker never counts as silent.
    with suppress(OSError), _file(os.getpid()).open("wb") as file:
        while True:
            os.pwrite(file.fileno(), b"%020.3f" % time.monotonic(), 0)
            await asyncio.sleep(BEAT_EVERY)


def silence(pid: int) -> float:
    """Seconds since the last beat of a worker; 0 before the first, while it starts."""
    with suppress(OSError, ValueError):
        return time.monotonic() - float(_file(pid).read_bytes())
    return 0.0


def _file(pid: int) -> Path:
    return Path(os.environ[DIRECTORY], f"beat-{pid}")
