"""The fast path: a small request to a compiled model is answered on its connection, without ASGI.

All requests that one turn of the event loop reads are predicted together in the next. Whatever is
not answered with a 200 is passed on to the application, which alone refuses and waits: its task,
messages and events cost several times what a prediction does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Protocol

from trivet.model.predictor import Predictions
from trivet.online.batcher import ROWS_TOGETHER
from trivet.online.exchange import Exchange
from trivet.online.gate import with_defaults
from trivet.online.inference import Parse, Query, headers_of_answer, records_of_query
from trivet.online.live_model import Ready
from trivet.online.negotiation import (
    ACCEPT_ENCODING,
    GZIPPED,
    Headers,
    compress,
    is_to_be_compressed,
)
from trivet.online.service import Service

#: The key of the lifespan's state, and so of each connection's, that holds a worker's fast path.
FAST_PATH = "trivet.fast_path"
#: A body of more bytes (about 30 rows of JSON) is not plain: predicting takes most of its time.
PLAIN_BYTES = 8_192
#: Headers of a request that asks for more than a plain answer.
NOT_PLAIN = frozenset({b"content-encoding", b"expect", b"transfer-encoding"})
#: What uvicorn takes a caller's address from, for the log, if a proxy of this machine sends it.
FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})


class Caller(Protocol):
    """The connection that a request came by."""

    def write(self, rest: bytes) -> None:
        """Answer its plain request with a 200; ``rest`` is all but the status and the date."""

    def pass_on(self) -> None:
        """Let the application answer it, as one that was admitted."""


class PlainRequest(Exchange):
    """A request on the fast path; ``body`` is what has arrived of it.

    Once it is whole, ``query`` is what it asks for, ``records`` are the query's, and ``parsing`` is
    how many seconds it took to read them.
    """

    __slots__ = ("body", "caller", "is_whole", "parse", "parsing", "query", "records")

    caller: Caller
    parse: Parse
    body: bytearray
    is_whole: bool
    query: Query
    records: list[object]
    parsing: float


class FastPath:
    """Answers the plain requests of one worker's connections.

    ``routes`` are the paths for predictions, and what parses the bodies there.
    """

    def __init__(self, service: Service, routes: Mapping[str, Parse]) -> None:
        self._settings, self._metrics = service.settings, service.metrics
        self._live_model, self._keys, self._drain = service.live_model, service.keys, service.drain
        self._inference, self._journal = service.inference, service.journal
        root = self._settings.root_path
        #: What `Gate` makes of each URL: the path, its route, and what parses the body.
        self._routes = {}
        for prefix in dict.fromkeys(("", root)):
            for route, parse in () if self._settings.cors_origins else routes.items():
                if "%" not in route:  # which the application decodes
                    self._routes[(prefix + route).encode()] = root + route, route, parse
        self._most_rows = min(ROWS_TOGETHER, self._settings.max_rows)
        self._not_plain = NOT_PLAIN | FORWARDED if self._settings.access_log else NOT_PLAIN
        #: The requests that are not answered yet, and those of them whose bodies are there.
        self._open: set[PlainRequest] = set()
        self._line: deque[PlainRequest] = deque()

    def begin(
        self, caller: Caller, client: str | None, url: bytes, headers: Headers
    ) -> PlainRequest | None:
        """Take a POST request of HTTP/1.1 whose head has arrived; None if it is not plain."""
        if (found := self._routes.get(url)) is None or not self._not_plain.isdisjoint(headers):
            return None
        length = int(headers.get(b"content-length", 0))
        if not 0 < length <= min(PLAIN_BYTES, self._settings.max_body):
            return None
        if self._metrics.in_flight >= self._settings.max_in_flight:
            return None
        if not self._inference.has_room(length):
            return None
        path, route, parse = found
        request = PlainRequest("POST", path, headers, client)
        if self._keys:
            request.key = self._keys.admit(headers)
            if request.key is None:
                return None
        request.caller, request.route, request.parse = caller, route, parse
        request.body, request.is_whole = bytearray(), False
        self._metrics.in_flight += 1
        self._open.add(request)
        return request

    def join(self, request: PlainRequest) -> None:
        """Answer a request whose body is there, with others that this turn reads."""
        request.is_whole = True
        if not self._line:
            asyncio.get_running_loop().call_soon(self.answer_some)
        self._line.append(request)

    def answer_some(self) -> None:
        """Answer requests whose bodies are there, up to `ROWS_TOGETHER` rows; others next turn."""
        ready, some, rows = self._ready(), list[PlainRequest](), 0
        while self._line and rows < ROWS_TOGETHER:
            request = self._line.popleft()
            if ready is None:
                self.pass_on(request)
            elif self._read(request, ready):
                some.append(request)
                rows += len(request.records)
        if self._line:
            asyncio.get_running_loop().call_soon(self.answer_some)
        if ready and some:
            self._answer_together(some, ready)

    def pass_on(self, request: PlainRequest) -> None:
        """Leave a request to the application, with its place among those in flight."""
        self._open.remove(request)
        if request in self._line:
            self._line.remove(request)
        request.caller.pass_on()

    async def watch(self) -> None:
        """Pass on requests whose bodies are slow, as the application has a deadline for them.

        It looks for them 20 times a deadline, until cancelled.
        """
        while True:
            before = self._open.copy()
            await asyncio.sleep(self._settings.deadline / 20)
            for request in self._open & before:
                self.pass_on(request)

    def _ready(self) -> Ready | None:
        """The model, if it is a compiled one, and unless the service is stopping."""
        ready = self._live_model.ready
        if ready is None or ready.manifest.not_compiled is not None or self._drain.begun:
            return None
        return ready

    def _read(self, request: PlainRequest, ready: Ready) -> bool:
        """Whether a body could be read; otherwise the application says why not."""
        began = perf_counter()
        try:
            request.query = request.parse(request.headers, request.body, ready)
            request.records = records_of_query(request.query, self._most_rows)
        except Exception:  # the application meets it again, and answers or logs it
            self.pass_on(request)
            return False
        request.parsing = perf_counter() - began
        return True

    def _answer_together(self, line: list[PlainRequest], ready: Ready) -> None:
        """Encode, predict and answer requests; one that can't be answered harms no other."""
        predictor, began = ready.predictor, perf_counter()
        try:
            encoded = predictor.encode([record for each in line for record in each.records])
            parsed = perf_counter()
            rows = predictor.stack(encoded)
            together = predictor.predict(rows)
        except Exception:
            if len(line) == 1:
                self.pass_on(line[0])
            else:
                for request in line:
                    self._answer_together([request], ready)
            return
        ready.observe(rows)
        encoding, turn, end = (parsed - began) / len(line), perf_counter(), 0
        for request in line:
            start, end = end, end + len(request.records)
            if self._answer(request, together.some(start, end), ready):
                written = perf_counter()
                # To wait for the answers before its own counts as predict, as waiting for a batch.
                self._metrics.staged(request.parsing + encoding, turn - parsed, written - turn)
                turn = written

    def _answer(self, request: PlainRequest, predictions: Predictions, ready: Ready) -> bool:
        query = request.query
        try:
            body = query.write(predictions, ready.manifest)
        except Exception:
            self.pass_on(request)
            return False
        added = [*ready.headers, *query.headers, ACCEPT_ENCODING]
        if is_to_be_compressed(body, request.headers):
            body = compress(body)  # at once: `ROWS_TOGETHER` rows take less than a thread does
            added.append(GZIPPED)
        lines = _lines(query.media_type, tuple(added))
        rest = (len(body), lines, request.request_id, body)
        request.caller.write(b"content-length: %d\r\n%bx-request-id: %b\r\n\r\n%b" % rest)
        self._open.remove(request)
        self._metrics.in_flight -= 1
        request.status = HTTPStatus.OK
        self._journal.close(request)
        return True


@lru_cache(100)
def _lines(media_type: str, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The lines of an answer's head between its length and the request's id."""
    own = headers_of_answer(media_type, headers)
    return b"".join(b"%b: %b\r\n" % each for each in with_defaults(own))
