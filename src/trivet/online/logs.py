"""Logs: one JSON object a line on stdout. A thread writes them, so no request waits for a pipe."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import Full, Queue
from typing import Any

STDOUT = 1
#: How many lines may wait to be written, and how many seconds to wait for them at the end.
MOST_WAITING, PATIENCE = 10_000, 2.0


class JsonLines(logging.Handler):
    """Hands lines to a thread that writes them; drops lines while too many wait.

    The thread bypasses ``sys.stdout``, whose lock would keep the process from exiting while nobody
    reads the pipe.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._waiting: Queue[logging.LogRecord] = Queue(MOST_WAITING)
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or drop it if the queue is full."""
        with suppress(Full):
            self._waiting.put_nowait(record)

    def flush(self) -> None:
        """Wait until all that was logged is written, for `PATIENCE` seconds at most."""
        patience = time.monotonic() + PATIENCE
        while self._waiting.unfinished_tasks and time.monotonic() < patience:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            line = self.format(self._waiting.get()) + "\n"
            with suppress(OSError):  # the other end of the pipe is closed
                os.write(STDOUT, line.encode())
            self._waiting.task_done()


class JsonFormatter(logging.Formatter):
    """One line: time, level, logger, message, the facts of a request, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line as a JSON object."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def flush() -> None:
    """Wait until all that this process has logged is written."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def logging_config(level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`: all lines of this level and above, on stdout."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stdout": {"()": "trivet.online.logs.JsonLines"}},
        "root": {"handlers": ["stdout"], "level": level.upper()},
    }
