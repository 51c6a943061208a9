"""What a request to the application passes through, in and out, in plain ASGI.

`trivet.online.fast_path` answers plain requests before it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trivet.errors import RecordsRejected
from trivet.online.direct import direct_routes
from trivet.online.drain import Drain
from trivet.online.exchange import GONE, Exchange
from trivet.online.inference import ADMITTED, LEFT, READING, REFUSED
from trivet.online.live_model import RawHeaders
from trivet.online.negotiation import headers_of
from trivet.online.problems import ProblemError, path_of
from trivet.online.service import Service

logger = logging.getLogger("trivet.online")

#: The security headers of every answer that does not set its own.
HEADERS: dict[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
ALL_HEADERS = [*HEADERS.items()]
#: What a page of another origin may use and see, besides what any page may.
METHODS, SHOWN = ["GET", "HEAD", "POST"], ["ETag", "Retry-After", "X-Model-Version", "X-Request-ID"]
#: Asks a browser for the key, which it then sends with all that the page asks for.
ASK_IN_BROWSER = {"/docs": 'Basic realm="the password is the key"'}


def with_defaults(own: RawHeaders) -> RawHeaders:
    """The headers of an answer, and those of `HEADERS` that it does not set itself."""
    if (names := {name for name, _ in own}) & HEADERS.keys():
        return own + [header for header in ALL_HEADERS if header[0] not in names]
    return own + ALL_HEADERS


class Gate:
    """Admits or refuses each request to the application; counts and logs it, adds headers.

    A POST request to a `DirectRoute` of ``app`` is answered without the routing of ``app``.
    """

    def __init__(self, app: FastAPI, service: Service) -> None:
        self._app = app
        self._direct = {path: route.app for path, route in direct_routes(app.routes).items()}
        self._open = frozenset(service.open_paths)
        self._always = self._open | {"/metrics"}
        self._settings, self._metrics = service.settings, service.metrics
        self._deadlines, self._drain = service.deadlines, service.drain
        self._problems, self._journal = service.problems, service.journal
        self._keys = service.keys
        self._respond: ASGIApp = self._pass
        if origins := service.settings.cors_origins:
            self._respond = CORSMiddleware(
                self._pass, origins, METHODS, ["*"], expose_headers=SHOWN
            )

    def lifespan(self) -> AbstractAsyncContextManager[Any]:
        """What starts and stops the service, for the lifespan of an app that this is mounted in."""
        return self._app.router.lifespan_context(self._app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if root := self._settings.root_path:
            _put_behind(root, scope)
        # What can't be read is refused, even if it looks like a preflight request.
        respond = self._pass if REFUSED in scope else self._respond
        await respond(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, send, self._drain)
        self._metrics.in_flight += ADMITTED not in scope  # or it has its place already
        request = self._deadlines.begin()
        try:
            await self._answer(exchange, receive)
        except asyncio.CancelledError:
            if not self._deadlines.is_late(request):
                raise
            await self._refuse(exchange, receive, self._too_late(scope))
        finally:
            self._deadlines.end(request)
            self._metrics.in_flight -= 1
            if LEFT in scope:
                exchange.status = GONE
            exchange.route = exchange.route or getattr(scope.get("route"), "path", None)
            self._journal.close(exchange, log=REFUSED in scope)

    async def _answer(self, exchange: _Exchange, receive: Receive) -> None:
        scope = exchange.scope
        path = path_of(scope)
        try:
            if problem := scope.get(REFUSED):
                self._metrics.rejected.labels(problem.reason).inc()
                raise problem
            direct = self._direct.get(path) if scope["method"] == "POST" else None
            if ADMITTED in scope:
                exchange.key = scope[ADMITTED]
            else:
                self._admit(None if direct else path, exchange)
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
            response = self._problems.answer(path_of(scope), scope["method"], error)
            await response(scope, receive, exchange.send)

    def _too_late(self, scope: Scope) -> ProblemError:
        late = f"within {self._deadlines.seconds:g} seconds"
        if scope.get(READING):
            detail, close = f"the body did not arrive {late}", {"Connection": "close"}
            return ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail, close)
        detail = f"no answer {late}; send fewer rows, or try again later"
        return ProblemError(HTTPStatus.GATEWAY_TIMEOUT, detail)

    def _admit(self, path: str | None, exchange: _Exchange) -> None:
        """Raise a 401 or 503 problem if the request may not pass.

        ``path`` is None for a direct route, so that it is never open: a platform may use one path
        for its probes and for predictions.
        """
        if self._keys and path not in self._open:
            exchange.key = self._keys.admit(exchange.headers)
            if exchange.key is None:
                self._metrics.rejected.labels("unauthorized").inc()
                scheme = ASK_IN_BROWSER.get(path or "", "Bearer")
                raise ProblemError(
                    HTTPStatus.UNAUTHORIZED,
                    "send a key that this service knows: Authorization: Bearer KEY, or "
                    "X-API-Key: KEY",
                    {"WWW-Authenticate": scheme, "Connection": "close"},
                )
        if self._metrics.in_flight > self._settings.max_in_flight and path not in self._always:
            self._metrics.rejected.labels("overload").inc()
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._settings.max_in_flight:,} requests are in flight; try again later",
                {"Retry-After": "1"},
            )


def _put_behind(root: str, scope: Scope) -> None:
    """Make a request what it was for a proxy, which may have cut ``root`` off the path.

    The connection goes on to note in this scope what becomes of the request, so it is no copy.
    """
    path = path_of(scope)
    scope["path"] = path if path.startswith(f"{root}/") else root + path
    scope["root_path"] = root


class _Exchange(Exchange):
    """A request in ASGI."""

    __slots__ = ("_drain", "_send", "scope")

    def __init__(self, scope: Scope, send: Send, drain: Drain) -> None:
        client = (scope.get("client") or [None])[0]
        super().__init__(scope["method"], scope["path"], headers_of(scope), client)
        self.scope, self._send, self._drain = scope, send, drain

    async def send(self, message: Message) -> None:
        """Pass a message on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = with_defaults(message["headers"])
            message["headers"].append((b"x-request-id", self.request_id))
            if self._drain.begun:
                message["headers"].append((b"connection", b"close"))
        await self._send(message)
