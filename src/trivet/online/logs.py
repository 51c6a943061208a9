"""Logs: one JSON object a line on stdout, written by a thread: no request waits for a pipe."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue


class JsonLines(QueueHandler):
    """Hands records to a thread that writes them."""

    def __init__(self) -> None:
        super().__init__(SimpleQueue())
        output = logging.StreamHandler(sys.stdout)
        output.setFormatter(JsonFormatter())
        self._thread = QueueListener(self.queue, output)
        self._thread.start()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as it is: it stays in this process."""
        return record

    def flush(self) -> None:
        """Wait until all that was logged is written."""
        self._thread.stop()
        self._thread.start()

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._thread.stop()
        super().close()


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
    "handlers": {"stdout": {"class": "trivet.online.logs.JsonLines"}},
    "root": {"handlers": ["stdout"], "level": "INFO"},
}
