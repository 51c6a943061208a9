"""HTTP/1.1 on one connection: what is taken as a request, and how long it may take to arrive.

uvicorn's protocol parses, and hands requests to the application. This one answers a plain request
by itself, on the fast path. It bounds what a caller can send before any key is known, and closes
what uvicorn leaves open.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from trivet.online.fast_path import FAST_PATH, FastPath, PlainRequest
from trivet.online.inference import ADMITTED, LEFT, REFUSED
from trivet.online.known_uvicorn import require_known
from trivet.online.negotiation import HEADERS, Headers, joined
from trivet.online.problems import ProblemError
from trivet.online.settings import ListenSettings

#: The start of an answer with a 200.
OK = STATUS_LINE[HTTPStatus.OK]
#: Seconds for which the rest of a request that was answered early is read and dropped.
LINGER = 2.0
#: How many requests may wait on one connection for the answers to those before them.
PIPELINED = 256
#: With how many of them waiting no more are read.
WAITING = 16
#: A name or an address, and a port: RFC 3986. It may be empty.
HOST = re.compile(rb"(?:[-\w.~!$&'()*+,;=%]*|\[[\da-f:.]+\])(?::\d*)?", re.IGNORECASE)
#: A path with its query, perhaps in a whole URL, as proxies are asked.
TARGET = re.compile(
    rb"(?:(?=/)|https?://(?=[^/?:])%b(?=[/?]|$))([!-\"$-~]*)" % HOST.pattern, re.IGNORECASE
)


require_known()


class Connection(HttpToolsProtocol):
    """One connection.

    A plain request is answered on the fast path, any other by the application. One that can't be
    read is refused once those before it are answered, and by the application, so that its problem
    has a request id, is counted and is logged. Then the connection is closed.
    """

    transport: Any
    cycle: Any
    scope: Any

    def __init__(self, settings: ListenSettings, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._max_head, self._idle_timeout = settings.max_head, settings.idle_timeout
        #: Bytes received since the parser last finished a head, a piece of a body or a request, but
        #: without the rest of what arrived with that.
        self._pending = 0
        #: How many bytes arrived last, and how many with the start of the head.
        self._arrived = self._with_start = 0
        self._in_head = self._upgrades = self._refused = False
        #: The headers of the last head that was complete: line by line, and by name.
        self._lines: list[tuple[bytes, bytes]] = []
        self._by_name: Headers = {}
        #: The request that the application answers; `cycle` is the last one that arrived for it.
        self._answering: Any = None
        #: The start of all answers on the fast path, and the headers that it was made from.
        self._start, self._defaults = OK, list[tuple[bytes, bytes]]()
        #: The last Host header, once it was checked.
        self._host: bytes | None = None
        #: The request that is on the fast path: the last one that arrived.
        self._plain: PlainRequest | None = None
        self._fast_path: FastPath = self.app_state[FAST_PATH]
        #: Since when there is nothing to answer, and how much of the answers was then unsent.
        self._idle_since, self._unsent = self.loop.time(), 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of a new connection."""
        super().connection_made(_Lingering(transport, self))  # type: ignore[arg-type]
        self.flow = _Flow(self)
        self._clock = self.loop.call_later(self._idle_timeout, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that the caller has left; it also counts a plain request that is."""
        self._clock.cancel()
        if self._plain:
            self._fast_path.pass_on(self._plain)
        if (answering := self._answering) and not answering.response_complete:
            answering.scope[LEFT] = answering.disconnected = True
            answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; drop it if the connection is about to close."""
        if self._refused or self.transport.is_closing():
            return
        self._arrived = len(data)
        self._pending += self._arrived
        try:
            self._parse(data)
            if self._pending > self._max_head:
                raise self._too_large()
        except ProblemError as problem:
            self._refuse(problem)
        except httptools.HttpParserError as error:
            cause = error.__context__ or error  # what a callback raised, or what the parser found
            if not isinstance(cause, ProblemError):
                cause = ProblemError(
                    HTTPStatus.BAD_REQUEST, f"the request can't be read as HTTP/1.1: {cause}"
                )
            self._refuse(cause)

    def on_message_begin(self) -> None:
        """A request begins, or its head is parsed again; the one before is answered first."""
        while self._plain and self._plain.is_whole:
            self._fast_path.answer_some()
        if not self._in_head:
            self._with_start = self._arrived
        self._in_head = True
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer; the parser leaves the spaces after its value."""
        if not self._in_head and name.lower() == b"connection":
            detail = "a trailer says what becomes of the connection; send that in the head"
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
        name, value = name.lower(), value.rstrip(b" \t")
        self.headers.append((name, value))
        if name == b"expect":
            self.expect_100_continue |= value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Check a head, and begin to answer; one that asks for an upgrade is parsed again first."""
        self._upgrades = self.parser.should_upgrade()
        if self._upgrades:
            return
        headers = joined(self.headers)
        version = self.parser.get_http_version()
        self._check_head(headers, version)
        self._pending, self._in_head = 0, False
        self._lines, self._by_name = self.headers, headers
        self._plain = self._begin_plain(headers) if version == "1.1" else None
        if self._plain is None:
            self._open_scope()
            super().on_headers_complete()
            self.flow.resume_reading()  # or nobody would notice that the caller leaves
        self.headers = []  # takes the trailers, which nobody reads

    def on_body(self, body: bytes) -> None:
        """A piece of the body arrived."""
        self._pending = 0
        if self._plain:
            self._plain.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request arrived in full."""
        if not self._upgrades:
            if self.headers and self._size_of_headers() > self._max_head:
                raise self._too_large()
            self._pending = 0
            if self._plain:
                self._fast_path.join(self._plain)
                return
            super().on_message_complete()
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Answer the next request, or wait for it."""
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if not self.transport.is_closing():
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            else:
                self.flow.resume_reading()

    def write(self, rest: bytes) -> None:
        """Answer the plain request with a 200; ``rest`` is all but the status and the date."""
        defaults = self.server_state.default_headers  # uvicorn makes them anew each second
        if defaults is not self._defaults:
            self._defaults = defaults
            self._start = OK + b"".join(b"%b: %b\r\n" % each for each in defaults)
        self.transport.write(self._start + rest)
        self._plain, self._idle_since = None, self.loop.time()
        self.server_state.total_requests += 1

    def pass_on(self) -> None:
        """Let the application answer the plain request."""
        if plain := self._plain:
            self._plain = None
            self.cycle = self._new_cycle("POST", self.url, keep_alive=True)
            self.cycle.body, self.cycle.more_body = plain.body, not plain.is_whole
            self.cycle.scope[ADMITTED] = plain.key
            self.cycle.message_event.set()
            self._start_asgi_task(self.cycle, self.app)

    def shutdown(self) -> None:
        """Finish the request that is being answered, and close the connection."""
        if self._plain:
            self._fast_path.pass_on(self._plain)
        super().shutdown()

    @property
    def unread(self) -> bool:
        """Whether more may arrive: of the last request, or after an answer that was the last."""
        cycle = self.cycle
        begun = bool(self._plain or (cycle and (cycle.more_body or not cycle.keep_alive)))
        return self._refused or self._in_head or begun

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            self._ignore_upgrade()  # not above, or an error would hide its cause

    def _ignore_upgrade(self) -> None:
        """Parse a head again without its Upgrade header, which RFC 9110 lets a server ignore.

        With it, the parser takes the body for another protocol, and would go on with whatever
        follows in a later read as if it were a request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise ProblemError(HTTPStatus.NOT_IMPLEMENTED, "this is no proxy: no CONNECT")
        version = self.parser.get_http_version().encode()
        kept = [b"%s: %s" % each for each in self.headers if each[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        lines = [b"%s %s HTTP/%s" % (method, self.url, version), *kept, b"", b""]
        self.parser.feed_data(b"\r\n".join(lines))

    @property
    def _is_free(self) -> bool:
        """Whether all requests that arrived for the application are answered."""
        return self.cycle is None or self.cycle.response_complete

    def _open_scope(self) -> None:
        """Make what the application sees of the request: the fast path does without."""
        head = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = head
        self.scope["headers"], self.scope[HEADERS] = self._lines, self._by_name

    def _begin_plain(self, headers: Headers) -> PlainRequest | None:
        """The request whose head has arrived, if the fast path takes it."""
        parser = self.parser
        if (
            not self._is_free
            or self.flow.write_paused
            or parser.get_method() != b"POST"
            or not parser.should_keep_alive()
        ):
            return None
        client = self.client[0] if self.client else None
        return self._fast_path.begin(self, client, self.url, headers)

    def _check_head(self, headers: Headers, version: str) -> None:
        """Raise a problem for what the parser takes and RFC 9112 does not."""
        arrived = self._with_start + self._pending  # with what came before it
        if arrived > self._max_head and len(self.url) + self._size_of_headers() > self._max_head:
            raise self._too_large()
        if version not in ("1.1", "1.0"):
            raise ProblemError(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"send HTTP/1.1, not HTTP/{version}"
            )
        self.expect_100_continue &= version == "1.1"
        self._check_host(headers, version)
        if b"transfer-encoding" in headers:
            self._check_coding(version)
        if not (target := TARGET.fullmatch(self.url)):
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "the request's target is not a path in ASCII; encode other characters as %XX",
            )
        self.url = target[1] if target[1].startswith(b"/") else b"/" + target[1]
        if len(self.pipeline) >= PIPELINED:
            detail = f"{PIPELINED} requests wait on this connection; read their answers first"
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail)

    def _check_host(self, headers: Headers, version: str) -> None:
        host = headers.get(b"host")
        # Most callers send what they sent before; of two lines with one name, `headers` has one.
        if host is not None and host == self._host and len(headers) == len(self.headers):
            return
        count = sum(name == b"host" for name, _ in self.headers)
        if count > 1 or (not count and version == "1.1"):
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, f"the request has {count or 'no'} Host headers; send one"
            )
        if host is not None and not HOST.fullmatch(host):
            detail = "the Host header has more than a name or an address, and a port"
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
        self._host = host

    def _check_coding(self, version: str) -> None:
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version == "1.0" or codings[-1].rpartition(b",")[2].strip() != b"chunked":
            detail = "Transfer-Encoding needs HTTP/1.1, and chunked as the last: where does it end?"
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
        if codings != [b"chunked"]:
            detail = "the only Transfer-Encoding here is chunked"
            raise ProblemError(HTTPStatus.NOT_IMPLEMENTED, detail)

    def _size_of_headers(self) -> int:
        """The bytes of the headers, or of the trailers once the head is complete."""
        return sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> ProblemError:
        if self._in_head and not self.headers:
            status, what = HTTPStatus.REQUEST_URI_TOO_LONG, "URL"
        else:
            status, what = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head"
        return ProblemError(status, f"the {what} has more than {self._max_head:,} bytes")

    def _refuse(self, problem: ProblemError) -> None:
        """Answer with a problem once all that came before is answered; read no more."""
        self._refused, problem.reason = True, "malformed"
        if self._in_head or self.cycle is None or not self.cycle.more_body:
            self._begin_refusal(problem)
        elif self.cycle.response_complete:  # it did not need its body
            self.transport.close()
        else:
            self.cycle.scope[REFUSED] = problem
            self.cycle.more_body = self.cycle.keep_alive = False
            self.cycle.message_event.set()

    def _begin_refusal(self, problem: ProblemError) -> None:
        if not self._in_head:
            self.on_message_begin()
        self._in_head, self._lines, self._by_name = False, self.headers, joined(self.headers)
        path = self.url[:1000].partition(b"?")[0]
        method = self.parser.get_method().decode() if path else ""
        is_free, self.cycle = self._is_free, self._new_cycle(method, path, keep_alive=False)
        self.cycle.more_body, self.cycle.scope[REFUSED] = False, problem
        if is_free:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.pipeline.appendleft((self.cycle, self.app))

    def _new_cycle(self, method: str, path: bytes, keep_alive: bool) -> RequestResponseCycle:
        """What uvicorn answers a request with, whose scope has all but these."""
        self._open_scope()
        self.scope |= {
            "method": method,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": b"",
        }
        return RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _close_if_idle(self) -> None:
        """Close a connection that sends no request, or reads no answer; otherwise look again."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == self._unsent:
            self.transport.abort()
            return
        self._unsent, again = unsent, self._idle_timeout
        if not unsent and self._is_free and not self._plain:
            again = self._idle_since + self._idle_timeout - self.loop.time()
            if again <= 0:
                self.transport.close()
                again = LINGER
        self._clock = self.loop.call_later(again, self._close_if_idle)


class _Flow(FlowControl):
    """Reads no further while many requests wait for their answers: they would pile up in memory."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.transport)
        self._pipeline = connection.pipeline

    def resume_reading(self) -> None:
        if len(self._pipeline) < WAITING:
            super().resume_reading()


class _Lingering:
    """A transport whose close lets a caller that is still sending read its answer.

    A socket that is closed while there is more to read is reset, and the answer may be lost.
    """

    def __init__(self, transport: Any, connection: Connection) -> None:
        self._transport = transport
        self.write = transport.write  # past `__getattr__`, for each answer
        self._connection = connection
        self._closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether it was closed, here or at the other end."""
        return self._closing or bool(self._transport.is_closing())

    def close(self) -> None:
        """Close, but drop what still arrives for `LINGER` seconds if more may arrive."""
        if self._closing or not self._connection.unread or self._transport.is_closing():
            self._transport.close()
            return
        self._closing = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._connection.pipeline.clear()
        self._connection.flow.resume_reading()
        self._connection.loop.call_later(LINGER, self._transport.close)
