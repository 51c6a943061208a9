"""One inference request, from the bytes of its body to the bytes of its answer: the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from time import perf_counter

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trivet.errors import TrivetError
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions, Predictor
from trivet.model.store import ModelStore
from trivet.model.trust import Trust
from trivet.online.batcher import Batcher
from trivet.online.live_model import LiveModel, RawHeaders, Ready, unavailable
from trivet.online.metrics import Metrics
from trivet.online.negotiation import Headers, compressed, expand, headers_of, is_compressed
from trivet.online.other_process import OtherProcess
from trivet.online.problems import ProblemError
from trivet.online.schemas import JSON
from trivet.online.settings import ServeSettings
from trivet.rows.arrays import EncodedRows, Rows

#: A body of more bytes than this, about a hundred rows, is answered by another process, so that
#: other requests don't wait for it. For a smaller one, the way there and back would take longer.
LARGE = 32_768
#: Seconds that the other process may take to start, beyond the deadline of the first body.
STARTS_WITHIN = 10.0
#: How many times its size a body may expand to, beyond `LARGE`. Real rows expand up to 20 times.
RATIO = 100
#: How many bodies of the largest size may be in memory at once.
BODIES = 16
#: Keys of a request's scope: whether its body is still being read, the problem to answer it with
#: whatever it asks for, whether its caller has left, and the key it was admitted with already.
READING, REFUSED, LEFT = "trivet.reading", "trivet.refused", "trivet.left"
ADMITTED = "trivet.admitted"

#: Where a model is, and what is asked of it: the directory of its store, the trust, name, version.
Place = tuple[Path, Trust, str, str]


@dataclass(slots=True)  # not frozen, which makes each slower to create
class Query:
    """What a request asks for: records, to be read once, and the form of their predictions.

    ``headers`` are more headers of the answer; ``write`` may add to them.
    """

    records: Iterable[object]
    write: Callable[[Predictions, Manifest], bytes]
    media_type: str = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


#: Makes the query from the headers and the body, for the model that will answer it. It is pickled
#: for the other process, so it is a function of a module, or a `partial` of one.
Parse = Callable[[Headers, bytearray, Ready], Query]

#: JSON or CSV: Accept decides.
VARY = (b"vary", b"accept")


@dataclass(frozen=True, slots=True)
class Written:
    """A body with its headers, and how many seconds it took to parse, predict and write."""

    body: bytes
    media_type: str
    headers: RawHeaders
    stages: tuple[float, float, float]


class Answer(Response):
    """A 200 at little cost: Response's own constructor takes as long as encoding the rows."""

    def __init__(self, written: Written) -> None:
        self.status_code, self.background, self.body = HTTPStatus.OK, None, written.body
        length = str(len(written.body)).encode()
        own = headers_of_answer(written.media_type, written.headers)
        self.raw_headers = [(b"content-length", length), *own]


def headers_of_answer(media_type: str, others: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers of an answer, but for its length."""
    return [(b"content-type", media_type.encode()), VARY, *others]


class Inference:
    """Answers inference requests with the live model, within the limits of the settings."""

    def __init__(self, live_model: LiveModel, settings: ServeSettings, metrics: Metrics) -> None:
        self._live_model, self._settings, self._metrics = live_model, settings, metrics
        self._other_process = OtherProcess(settings.deadline + STARTS_WITHIN)
        self._thread = ThreadPoolExecutor(1, "large-requests")  # waits for that process
        #: The bytes of all bodies that the application holds, and their limit. It is so high that
        #: only ``max_in_flight`` limits bodies that are not `LARGE`.
        self._held = 0
        self._room = max(BODIES * settings.max_body, LARGE * settings.max_in_flight)

    def has_room(self, size: int) -> bool:
        """Whether a body of this size may be held beside those that are."""
        return self._held + size <= self._room

    async def answer(self, request: Request, parse: Parse) -> Response:
        """The answer to one request; raises `ProblemError` or `RecordsRejected`."""
        ready = self._live_model.require()
        headers = headers_of(request.scope)
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
                answer = await self._answer_elsewhere(headers, body, ready, parse)
            return await compressed(answer, headers)
        except ProblemError as error:
            if error.reason:
                self._metrics.rejected.labels(error.reason).inc()
            raise
        finally:
            self._held -= len(body)

    def close(self) -> None:
        """End the other process: nobody waits for an answer any more."""
        self._other_process.close()

    async def _receive(self, request: Request, headers: Headers, body: bytearray) -> None:
        """Read the body; refuse it as soon as it is known to be too large, or there is no room."""
        self._require_room(int(headers.get(b"content-length", 0)))
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if problem := request.scope.get(REFUSED):
                raise problem
            more = message.get("more_body", False)
            chunk = message.get("body", b"")
            body += chunk
            self._held += len(chunk)
            self._require_room(len(body))

    def _require_room(self, size: int) -> None:
        """Raise a 413 problem if a body of this size is too large, 503 if all are together."""
        limit = self._settings.max_body
        if size > limit:
            raise _too_large("body_too_large", f"the body has more than {limit:,} bytes")
        if self._held > self._room:
            detail = f"more than {self._room:,} bytes are in flight; try again later"
            again = {"Retry-After": "1", "Connection": "close"}
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, again, "overload")

    async def _answer_with_others(
        self, headers: Headers, body: bytearray, ready: Ready, parse: Parse
    ) -> Response:
        started = perf_counter()
        query, rows = _read_query(headers, body, ready, parse, self._settings.max_rows)
        parsed = perf_counter()
        predictions = await ready.batcher.predict(rows)
        written = _write(query, predictions, ready, started, parsed)
        self._metrics.staged(*written.stages)
        return Answer(written)

    async def _answer_elsewhere(
        self, headers: Headers, body: bytearray, ready: Ready, parse: Parse
    ) -> Response:
        store, manifest = self._live_model.store, ready.manifest
        place = store.root, store.trust, manifest.name, manifest.version
        limits = self._settings.max_body, self._settings.max_rows

        def answer() -> Written:
            arguments = place, headers, body, parse, *limits
            written, rows = self._other_process.call(_answer_alone, *arguments)
            ready.observe(rows)  # even if the caller has given up
            return written

        loop = asyncio.get_running_loop()
        written = await loop.run_in_executor(self._thread, answer)
        self._metrics.staged(*written.stages)
        return Answer(written)


def _answer_alone(
    place: Place, headers: Headers, body: bytearray, parse: Parse, max_body: int, max_rows: int
) -> tuple[Written, Rows]:
    """The answer of the other process, and the rows that it leaves the worker to observe."""
    ready = _loaded(place)
    started = perf_counter()
    if is_compressed(headers):
        body = _expanded(body, max_body)
    query, encoded = _read_query(headers, body, ready, parse, max_rows)
    parsed = perf_counter()
    rows = ready.predictor.stack(encoded)
    predictions = ready.predictor.predict(rows)
    return _write(query, predictions, ready, started, parsed), rows


@lru_cache(1)
def _loaded(place: Place) -> Ready:
    """The model that the worker answers with, as the other process loads it."""
    models_dir, trust, name, version = place
    try:
        artifact = ModelStore(models_dir, trust).artifact(name, version)
        predictor = Predictor.load(artifact)
    except TrivetError as error:
        raise unavailable(f"version {version} can't be loaded for large bodies: {error}") from error

    return Ready(artifact.manifest, predictor, Batcher(predictor, _observe), _observe)


def _observe(rows: Rows) -> None:
    """The other process leaves that to the worker."""


def _expanded(body: bytearray, max_body: int) -> bytearray:
    most = min(max_body, max(RATIO * len(body), LARGE))
    if (expanded := expand(body, most)) is None:
        raise _too_large("body_too_large", f"the body expands to more than {most:,} bytes")
    return expanded


def _read_query(
    headers: Headers, body: bytearray, ready: Ready, parse: Parse, max_rows: int
) -> tuple[Query, EncodedRows]:
    """The query of a body and its encoded rows; raises `ProblemError` or `RecordsRejected`."""
    query = parse(headers, body, ready)
    return query, ready.predictor.encode(records_of_query(query, max_rows))


def records_of_query(query: Query, max_rows: int) -> list[object]:
    """Its records; raises a 413 problem if there are more than ``max_rows``."""
    records = list(islice(query.records, max_rows + 1))
    if len(records) > max_rows:
        raise _too_large("too_many_rows", f"the body has more than {max_rows:,} records")
    return records


def _write(
    query: Query, predictions: Predictions, ready: Ready, started: float, parsed: float
) -> Written:
    predicted = perf_counter()
    content = query.write(predictions, ready.manifest)
    stages = (parsed - started, predicted - parsed, perf_counter() - predicted)
    return Written(content, query.media_type, [*ready.headers, *query.headers], stages)


def _too_large(reason: str, what: str) -> ProblemError:
    detail = f"{what}; split it into several requests, or use trivet batch-predict"
    close = {"Connection": "close"}  # or the rest of the body would have to be read
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, close, reason)
