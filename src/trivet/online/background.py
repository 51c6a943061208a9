"""Tasks that run beside the requests for as long as the service does."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

logger = logging.getLogger("trivet.online")

#: Seconds between two complaints of one kind.
COMPLAIN_EVERY = 60.0


@asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines as tasks until the block ends; log at once if one of them fails."""
    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(_log_failure)
    yield
    for task in tasks:
        task.cancel()


async def watch_descriptors() -> None:
    """Say so while no file descriptor is left, until cancelled.

    The event loop itself closes connections without a word then, and uses the next ones again.
    """
    while True:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
            await asyncio.sleep(1)
        except OSError:
            logger.error(
                "no file descriptor is left, so new connections are closed; allow this process "
                "more than %d of them: ulimit -n, or ulimits in Compose",
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )
            await asyncio.sleep(COMPLAIN_EVERY)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.critical("a background task failed; restart the service", exc_info=error)
