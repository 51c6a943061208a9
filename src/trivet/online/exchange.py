"""A request and what becomes of it: the same facts of each, whichever way it is answered."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from random import getrandbits
from time import perf_counter

from trivet.errors import shortened
from trivet.online.metrics import Metrics
from trivet.online.negotiation import Headers

access = logging.getLogger("trivet.access")

#: The status, in metrics and logs, of a request whose caller left before it was answered.
GONE = 499
#: Failures of the service itself; not 503, or an overload would overload the log as well.
FAILURES = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.GATEWAY_TIMEOUT)
ALWAYS_LOGGED = (HTTPStatus.UNAUTHORIZED, *FAILURES)
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class Exchange:
    """A request, and its answer so far; ``key`` is the name of the key that it brought."""

    __slots__ = (
        "client", "headers", "key", "method", "path", "request_id", "route", "started", "status",
    )  # fmt: skip

    def __init__(self, method: str, path: str, headers: Headers, client: str | None) -> None:
        self.started = perf_counter()
        self.method, self.path, self.headers, self.client = method, path, headers, client
        given = headers.get(b"x-request-id")
        if given is None or not REQUEST_ID.fullmatch(given):
            given = b"%032x" % getrandbits(128)
        self.request_id = given
        self.route: str | None = None
        self.status: int | None = None
        self.key: str | None = None


class Journal:
    """Counts each request once it has ended, and logs it if all are to be, or it failed."""

    def __init__(self, access_log: bool, metrics: Metrics) -> None:
        self._access_log, self._metrics = access_log, metrics

    def close(self, exchange: Exchange, log: bool = False) -> None:
        """Note the end of a request, whose status and route are known by now."""
        status, seconds = exchange.status or GONE, perf_counter() - exchange.started
        self._metrics.answered(exchange.route or "other", status, seconds, exchange.key)
        if self._access_log or log or status in ALWAYS_LOGGED:
            method, path = shortened(exchange.method), shortened(exchange.path, 1000)
            facts = {
                "request_id": exchange.request_id.decode(),
                "method": method,
                "path": path,
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
                "client": exchange.client,
                "key": exchange.key,
            }
            level = logging.ERROR if status in FAILURES else logging.INFO
            access.log(level, "%s %s %d", method, path, status, extra={"facts": facts})
