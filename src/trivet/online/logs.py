"""Logs: one JSON object a line on stdout, written by a thread: no request waits for a pipe."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import Full, Queue

STDOUT = 1
#: Records that may wait to be written, and seconds to wait for them at the end.
MOST_WAITING, PATIENCE = 10_000, 2.0


class JsonLines(logging.Handler):
    """Hands records to a thread that writes them; drops them while too many wait to be written.

    The thread writes past ``sys.stdout``, whose lock would keep the process from ending while
    nobody reads the other end of a pipe.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._waiting: Queue[logging.LogRecord] = Queue(MOST_WAITING)
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a record in line, unless there is no end to the line."""
        with suppress(Full):
            self._waiting.put_nowait(record)

    def flush(self) -> None:
        """Wait until all that was logged is written, but not for ever."""
        patience = time.monotonic() + PATIENCE
        while self._waiting.unfinished_tasks and time.monotonic() < patience:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            line = self.format(self._waiting.get()) + "\n"
            with suppress(OSError):  # of a pipe whose other end is closed
                os.write(STDOUT, line.encode())
            self._waiting.task_done()


class JsonFormatter(logging.Formatter):
    """One line: time, level, logger, message, the facts of a request, a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object."""
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


#: For `logging.config.dictConfig`.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stdout": {"()": "trivet.online.logs.JsonLines"}},
    "root": {"handlers": ["stdout"], "level": "INFO"},
}
