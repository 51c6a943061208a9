"""What every request passes on its way in and out. Plain ASGI, for it is on the hot path."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from http import HTTPStatus
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trivet.errors import RecordsRejected
from trivet.online.deadlines import Deadlines
from trivet.online.inference import READING
from trivet.online.live_model import LiveModel
from trivet.online.metrics import Metrics
from trivet.online.problems import ProblemError, problem
from trivet.online.settings import ServeSettings

logger = logging.getLogger("trivet.online")
access = logging.getLogger("trivet.access")

Header = tuple[bytes, bytes]

#: What browsers and scanners are told with every answer that does not say otherwise.
HEADERS: dict[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
ALL_HEADERS = [*HEADERS.items()]
REQUEST_ID = re.compile(rb"[!-~]{1,128}")
#: Trouble of the service's own; not 503, or an overload would be one of the log, too.
ALWAYS_LOGGED = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.GATEWAY_TIMEOUT)
#: The status, in metrics and logs, of a request whose caller had gone before it was answered.
GONE = 499


class Gate:
    """Lets a request in or turns it away, completes its answer, counts it, logs it.

    ``direct`` are applications by the path that they answer POST requests to, without the routing
    of ``app``. ``open_paths`` need no key, and no room among the requests in flight.
    """

    def __init__(
        self,
        app: ASGIApp,
        direct: Mapping[str, ASGIApp],
        open_paths: frozenset[str],
        settings: ServeSettings,
        live_model: LiveModel,
        metrics: Metrics,
    ) -> None:
        self._app, self._direct = app, direct
        self._open, self._always = open_paths, open_paths | {"/metrics"}
        self._settings, self._live_model, self._metrics = settings, live_model, metrics
        self.deadlines = Deadlines(settings.deadline)
        self._keys = [sha256(key).digest() for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._live_model)
        self._metrics.in_flight += 1
        request = self.deadlines.begin()
        try:
            await self._answer(exchange, receive)
        except asyncio.CancelledError:
            if not self.deadlines.is_late(request):
                raise
            await self._refuse(exchange, receive, self._too_late(scope))
        finally:
            self.deadlines.end(request)
            self._metrics.in_flight -= 1
            self._record(exchange)

    async def _answer(self, exchange: _Exchange, receive: Receive) -> None:
        scope = exchange.scope
        path = scope["path"]
        try:
            direct = self._direct.get(path) if scope["method"] == "POST" else None
            self._admit(None if direct else path, exchange.headers)
            if direct is None:
                await self._app(scope, receive, exchange.send)
            else:
                exchange.route = path
                await direct(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = GONE
        except Exception as error:
            if not isinstance(error, ProblemError | RecordsRejected):
                logger.exception("request %s failed", exchange.request_id.decode())
            await self._refuse(exchange, receive, error)

    async def _refuse(self, exchange: _Exchange, receive: Receive, error: Exception) -> None:
        if exchange.status is None:
            scope = exchange.scope
            response = problem(scope["path"], scope["method"], error)
            await response(scope, receive, exchange.send)

    def _too_late(self, scope: Scope) -> ProblemError:
        late = f"within {self.deadlines.seconds:g} seconds"
        if scope.get(READING):
            detail, close = f"the body did not arrive {late}", {"Connection": "close"}
            return ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail, close)
        detail = f"no answer {late}; send fewer rows, or try again later"
        return ProblemError(HTTPStatus.GATEWAY_TIMEOUT, detail)

    def _admit(self, path: str | None, headers: Mapping[bytes, bytes]) -> None:
        """Raise a 401 or 503 problem for a request that is not let in.

        No ``path`` is open to a request for predictions: a platform may ask for both at one.
        """
        if self._keys and path not in self._open and not self._is_known(headers):
            self._metrics.rejected.labels("unauthorized").inc()
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                "send a key that this service knows: Authorization: Bearer KEY, or X-API-Key: KEY",
                {"WWW-Authenticate": "Bearer", "Connection": "close"},
            )
        if self._metrics.in_flight > self._settings.max_in_flight and path not in self._always:
            self._metrics.rejected.labels("overload").inc()
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._settings.max_in_flight:,} requests are in flight; try again later",
                {"Retry-After": "1"},
            )

    def _is_known(self, headers: Mapping[bytes, bytes]) -> bool:
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            key = headers.get(b"x-api-key", b"")
        given = sha256(key.strip()).digest()
        # All are compared, each in constant time: how long it takes tells nothing of any key.
        return sum([compare_digest(given, known) for known in self._keys]) > 0

    def _record(self, exchange: _Exchange) -> None:
        scope, seconds = exchange.scope, perf_counter() - exchange.started
        status = exchange.status or GONE
        route = exchange.route or str(getattr(scope.get("route"), "path", "other"))
        self._metrics.answered(route, status, seconds)
        if self._settings.access_log or status in ALWAYS_LOGGED:
            facts = {
                "request_id": exchange.request_id.decode(),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
                "client": (scope.get("client") or [None])[0],
            }
            access.info("%s %s %d", scope["method"], scope["path"], status, extra={"facts": facts})


class _Exchange:
    """A request, and what is known of its answer so far."""

    __slots__ = (
        "_live_model", "_send", "headers", "request_id", "route", "scope", "started", "status",
    )  # fmt: skip

    def __init__(self, scope: Scope, send: Send, live_model: LiveModel) -> None:
        self.started = perf_counter()
        self.scope, self._send, self._live_model = scope, send, live_model
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.request_id = given if REQUEST_ID.fullmatch(given) else os.urandom(16).hex().encode()
        self.route: str | None = None
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        """Send on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own: list[Header] = message["headers"]
            added = ALL_HEADERS
            if (names := {name for name, _ in own}) & HEADERS.keys():
                added = [header for header in ALL_HEADERS if header[0] not in names]
            message["headers"] = [*own, *added, (b"x-request-id", self.request_id)]
            if self._live_model.draining:
                message["headers"].append((b"connection", b"close"))
        await self._send(message)
