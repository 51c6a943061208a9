"""One inference request, from the bytes of its body to the bytes of its answer: the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from time import perf_counter

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions
from trivet.online.batcher import EncodedRows
from trivet.online.live_model import LiveModel, Ready
from trivet.online.metrics import Metrics
from trivet.online.negotiation import compressed, expand, headers_of, is_compressed
from trivet.online.problems import ProblemError
from trivet.online.schemas import JSON
from trivet.online.settings import ServeSettings

#: A body of more bytes than this, about a hundred rows, is answered in a thread, so that other
#: requests don't wait for it. For a smaller one, switching threads would take longer.
LARGE = 32_768
#: How many times its size a body may expand to, beyond `LARGE`. Real rows expand up to 20 times.
RATIO = 100
#: How many bodies of the largest size may be in memory at once.
BODIES = 16
#: The key of a request's scope that says whether its body is still being read.
READING = "trivet.reading"

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks for: records, to be read once, and the form of their predictions."""

    records: Iterable[object]
    write: Callable[[Predictions, Manifest], bytes]
    media_type: str = JSON


#: Makes the query from the headers and the body, for the model that will answer it.
Parse = Callable[[Headers, bytearray, Ready], Query]

#: JSON or CSV: Accept decides.
VARY = (b"vary", b"accept")


class Answer(Response):
    """A 200 at little cost: Response's own constructor takes as long as encoding the rows."""

    def __init__(self, body: bytes, media_type: str) -> None:
        self.status_code, self.background, self.body = HTTPStatus.OK, None, body
        length, kind = str(len(body)).encode(), media_type.encode()
        self.raw_headers = [(b"content-length", length), (b"content-type", kind), VARY]


class Inference:
    """Answers inference requests with the live model, within the limits of the settings."""

    def __init__(self, live_model: LiveModel, settings: ServeSettings, metrics: Metrics) -> None:
        self._live_model, self._settings, self._metrics = live_model, settings, metrics
        self._thread = ThreadPoolExecutor(1, "large-requests")
        #: The bytes of all bodies in flight, and their limit. It is so high that only
        #: ``max_in_flight`` limits bodies that are not `LARGE`.
        self._held = 0
        self._room = max(BODIES * settings.max_body, LARGE * settings.max_in_flight)

    async def answer(self, request: Request, parse: Parse) -> Response:
        """The answer to one request; raises `ProblemError` or `RecordsRejected`."""
        ready = self._live_model.require()
        headers = headers_of(request)
        is_gzip = is_compressed(headers)
        body = bytearray()
        try:
            request.scope[READING] = True
            await self._receive(request, headers, body)
            request.scope[READING] = False
            small = body if len(body) <= LARGE else None
            if is_gzip and small is not None:
                small = expand(small, min(LARGE, self._settings.max_body))
            if small is not None:
                answer = await self._answer_with_others(headers, small, ready, parse)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._answer_alone, headers, body, ready, parse
                )
            return await compressed(answer, headers)
        finally:
            self._held -= len(body)

    async def _receive(self, request: Request, headers: Headers, body: bytearray) -> None:
        """Read the body; refuse it as soon as it is known to be too large, or there is no room."""
        limit = self._settings.max_body
        if int(headers.get(b"content-length", 0)) > limit:
            raise self._refused("body_too_large", f"the body has more than {limit:,} bytes")
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            chunk = message.get("body", b"")
            body += chunk
            self._held += len(chunk)
            if len(body) > limit:
                raise self._refused("body_too_large", f"the body has more than {limit:,} bytes")
            if self._held > self._room:
                self._metrics.rejected.labels("overload").inc()
                detail = f"more than {self._room:,} bytes are in flight; try again later"
                again = {"Retry-After": "1", "Connection": "close"}
                raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, again)

    async def _answer_with_others(
        self, headers: Headers, body: bytearray, ready: Ready, parse: Parse
    ) -> Response:
        started = perf_counter()
        query, rows = self._read(headers, body, ready, parse)
        parsed = perf_counter()
        predictions = await ready.batcher.predict(rows)
        return self._write(query, predictions, ready, started, parsed)

    def _answer_alone(
        self, headers: Headers, body: bytearray, ready: Ready, parse: Parse
    ) -> Response:
        started = perf_counter()
        if is_compressed(headers):
            body = self._expand(body)
        query, rows = self._read(headers, body, ready, parse)
        parsed = perf_counter()
        stacked = ready.predictor.stack(rows)
        predictions = ready.predictor.predict(stacked)
        ready.observe(stacked)
        return self._write(query, predictions, ready, started, parsed)

    def _expand(self, body: bytearray) -> bytearray:
        most = min(self._settings.max_body, max(RATIO * len(body), LARGE))
        if (expanded := expand(body, most)) is None:
            raise self._refused("body_too_large", f"the body expands to more than {most:,} bytes")
        return expanded

    def _read(
        self, headers: Headers, body: bytearray, ready: Ready, parse: Parse
    ) -> tuple[Query, EncodedRows]:
        query, limit = parse(headers, body, ready), self._settings.max_rows
        records = list(islice(query.records, limit + 1))
        if len(records) > limit:
            raise self._refused("too_many_rows", f"the body has more than {limit:,} records")
        return query, ready.predictor.encode(records)

    def _write(
        self, query: Query, predictions: Predictions, ready: Ready, started: float, parsed: float
    ) -> Response:
        predicted = perf_counter()
        content = query.write(predictions, ready.manifest)
        self._metrics.staged(parsed - started, predicted - parsed, perf_counter() - predicted)
        return Answer(content, query.media_type)

    def _refused(self, reason: str, what: str) -> ProblemError:
        self._metrics.rejected.labels(reason).inc()
        detail = f"{what}; split it into several requests, or use trivet batch-predict"
        close = {"Connection": "close"}  # or the rest of the body would have to be read
        return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, close)
