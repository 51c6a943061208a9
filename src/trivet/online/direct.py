"""Routes that FastAPI documents, but does not handle: they are on the hot path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoute(APIRoute):
    """A POST route whose ``app`` calls the endpoint without FastAPI's request handling.

    That handling takes longer than a prediction. `trivet.online.gate` finds ``app`` by the path, if
    that has no parameters, and so saves the routing as well.
    """

    def __init__(self, path: str, endpoint: Endpoint, **documentation: Any) -> None:
        super().__init__(path, endpoint, methods=["POST"], **documentation)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

        self.app = answer
