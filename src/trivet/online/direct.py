"""Routes for predictions, which FastAPI documents but does not handle: they are on the hot path.

They read bodies as /predict does, or in the dialects of other servers' clients.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from trivet.online.inference import Inference, Parse, Query
from trivet.online.live_model import Ready
from trivet.online.negotiation import Headers
from trivet.online.payloads import media_type, parse_predict
from trivet.online.problems import PREDICTION_FAILURES, failures
from trivet.online.schemas import CSV, JSON, TEXT, PredictResponse, Schema, reference

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectRoute(APIRoute):
    """A POST route whose ``app`` calls the endpoint without FastAPI's request handling.

    That handling takes longer than a prediction. `trivet.online.gate` finds ``app`` by the path, if
    that has no parameters, and so saves the routing as well; `trivet.online.fast_path` does without
    ``app``, too, if it is given what parses the bodies.
    """

    def __init__(
        self, path: str, endpoint: Endpoint, parse: Parse | None = None, **documentation: Any
    ) -> None:
        super().__init__(path, endpoint, methods=["POST"], **documentation)
        self.parse = parse

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

        self.app = answer


@dataclass(frozen=True)
class Dialect:
    """How some clients ask for predictions in bodies of one media type, and its documentation."""

    clients: str
    about: str
    media_type: str
    parse: Parse
    schema: Schema
    response: Any = PredictResponse


def prediction_route(path: str, dialects: Sequence[Dialect], inference: Inference) -> DirectRoute:
    """A route that reads these dialects; other bodies are read as at /predict."""
    parsers = {each.media_type: each.parse for each in dialects}
    parse = partial(_parse, parsers) if dialects else parse_predict
    clients = " and ".join(each.clients for each in dialects)
    schemas = {JSON: reference("PredictRequest"), CSV: TEXT}
    schemas |= {each.media_type: each.schema for each in dialects}
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    answers = {200: {"content": {CSV: {"schema": TEXT}}}, **failures(406, *PREDICTION_FAILURES)}

    async def predict(request: Request) -> Response:
        return await inference.answer(request, parse)

    return DirectRoute(
        path,
        predict,
        parse,
        name=path.strip("/") if dialects else "predict",
        response_model=reduce(or_, (each.response for each in dialects), PredictResponse),
        responses=answers,
        openapi_extra={"requestBody": {"required": True, "content": content}},
        summary=f"Predict, for {clients}" if dialects else "Predict one record or many",
        description=" ".join(each.about for each in dialects) or "One prediction for each record.",
    )


def direct_routes(routes: Iterable[BaseRoute]) -> dict[str, DirectRoute]:
    """Those of the routes that can be found by their paths alone."""
    direct = (each for each in routes if isinstance(each, DirectRoute))
    return {route.path: route for route in direct if "{" not in route.path}


def _parse(parsers: Mapping[str, Parse], headers: Headers, body: bytearray, ready: Ready) -> Query:
    return parsers.get(media_type(headers), parse_predict)(headers, body, ready)
