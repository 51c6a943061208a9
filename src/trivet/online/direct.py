"""Routes that FastAPI documents, and that are reached without its routing; what they may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from trivet.online.problems import MEDIA_TYPE

Endpoint = Callable[[Request], Awaitable[Response]]
Responses = dict[int | str, dict[str, Any]]


class DirectRoute(APIRoute):
    """A POST route that answers without FastAPI's request handling.

    Routing and dependencies would take longer than a prediction: `trivet.online.gate` calls
    ``app`` by the path.
    """

    def __init__(self, path: str, endpoint: Endpoint, **documentation: Any) -> None:
        super().__init__(path, endpoint, methods=["POST"], **documentation)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

        self.app = answer


def failures(*statuses: int, schema: str = "Problem", media_type: str = MEDIA_TYPE) -> Responses:
    """The documentation of these statuses."""
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {status: {"description": FAILURES[status], "content": content} for status in statuses}


#: What may come of a request, by status.
FAILURES = {
    400: "The body can't be read.",
    401: "The service asks for a key, and the request holds none that it knows.",
    404: "This service has no such model or version.",
    408: "The body did not arrive in time.",
    413: "The body, or the number of its records, is too large.",
    415: "The body's media type is not one that is taken.",
    422: "The records break the contract; up to 100 faults are listed.",
    500: "The service failed; its log says why.",
    503: "No model is loaded, too much is in flight, or the service was told to stop.",
    504: "There was no answer in time.",
}
#: What may come of a request for predictions.
OF_PREDICTIONS = (400, 401, 408, 413, 415, 422, 500, 503, 504)
