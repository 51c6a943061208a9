"""What a connection takes for a request, byte by byte: wire.toml has the cases."""

from __future__ import annotations

import re
import socket
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, serving, wait_until
from tests.online.asking import rejected
from tests.online.test_faults import metrics, options
from trivet.online.problems import MEDIA_TYPE

CASES = tomllib.loads(Path(__file__).with_name("wire.toml").read_text())["case"]
#: Asks for what no case does, so that its answer can be told from those before it.
LAST = b"GET /the-last-one HTTP/1.1\r\nHost: a\r\n\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)


def repeated(items: list[Any]) -> Iterator[Any]:
    """The items, each pair [item, times] as often as it says."""
    return chain.from_iterable(
        [each[0]] * each[1] if isinstance(each, list) else [each] for each in items
    )


def connected(server: Server) -> closing[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    return closing(socket.create_connection((host, int(port)), timeout=30))


def received(caller: socket.socket, until: bytes = b"\0") -> bytes:
    """All that arrives until the connection is closed, or until these bytes were in it."""
    answers = b""
    while until not in answers and (more := caller.recv(65_536)):
        answers += more
    return answers


def answers_of(server: Server, writes: list[Any], closes: bool) -> list[tuple[int, str, bytes]]:
    """Status, head and body of each answer, once the connection is found to be closed or alive."""
    with connected(server) as caller:
        for at, write in enumerate(writes):
            if at:
                time.sleep(0.03)  # so that it is read by itself
            text, times = write if isinstance(write, list) else (write, 1)
            caller.sendall(text.encode("latin-1") * times)
        if closes:
            answers = received(caller)
        else:
            caller.sendall(LAST)
            answers = received(caller, b"the-last-one")
            answers = answers[: answers.rindex(b"HTTP/1.1 404")]
    heads = [*ANSWER.finditer(answers)]
    ends = [head.start() for head in heads[1:]] + [len(answers)]
    return [
        (int(head[1]), head[2].decode("latin-1").lower(), answers[head.end() : end])
        for head, end in zip(heads, ends, strict=True)
    ]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_what_is_sent_gets_these_answers_and_no_other(
    small_server: Server, case: dict[str, Any]
) -> None:
    answers = answers_of(small_server, case["sent"], case.get("closes", False))
    assert [status for status, _, _ in answers] == [*repeated(case["statuses"])]
    for status, head, body in answers:
        assert "x-request-id: " in head
        if status >= 400 and body.startswith(b'{"type"'):
            assert f"content-type: {MEDIA_TYPE}" in head


@pytest.mark.parametrize("first", [50, 20_000, 33_000, 40_000])
def test_a_long_head_is_refused_behind_another_request(small_server: Server, first: int) -> None:
    live = LIVE.decode()
    sent = live + live.replace("Host", f"X: {'x' * 33_000}\r\nHost")
    answers = answers_of(small_server, [sent[:first], sent[first:]], closes=True)
    assert [status for status, _, _ in answers] == [200, 431]


def test_a_request_that_cannot_be_read_is_counted_and_logged(small_server: Server) -> None:
    before = rejected(small_server, "malformed")
    ((_, head, _),) = answers_of(small_server, ["GET /x HTTP/1.1\r\n\r\n"], closes=True)
    assert rejected(small_server, "malformed") == before + 1
    (request_id,) = re.findall(r"x-request-id: (\w+)", head)

    def logged() -> list[dict[str, Any]]:
        return [line for line in small_server.logs() if line.get("request_id") == request_id]

    wait_until(lambda: logged() != [])
    (line,) = logged()
    assert (line["method"], line["path"], line["status"]) == ("GET", "/x", 400)


def test_an_answer_that_nobody_waits_for_is_not_counted_as_given(
    flights_store: Path, tmp_path: Path
) -> None:
    flight = (ROOT / "data/flight.json").read_bytes()
    many = b'{"instances":[' + b",".join([flight] * 9000) + b"]}"
    requests = [
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for body in (many, flight)
    ]
    with serving(*options(flights_store), cwd=tmp_path) as server:
        with connected(server) as caller:
            caller.sendall(b"".join(requests))
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        counted = 'trivet_requests_total{route="/predict",status="%d"}'
        wait_until(lambda: counted % 499 in metrics(server))
        assert metrics(server)[counted % 499] == 1
        assert counted % 200 not in metrics(server)
        assert not [line for line in server.logs() if line["level"] != "info"]


def test_a_connection_without_a_request_is_closed(flights_store: Path, tmp_path: Path) -> None:
    with (
        serving(*options(flights_store, "--idle-timeout", "1"), cwd=tmp_path) as server,
        connected(server) as silent,
        connected(server) as half,
        connected(server) as again,
    ):
        half.sendall(LIVE[:20])
        for _ in range(3):
            again.sendall(LIVE)
            received(again, b"alive")
            time.sleep(0.5)
        half.settimeout(1)
        assert received(silent) == received(half) == b""
        assert received(again) == b""


def test_a_caller_that_reads_nothing_is_dropped(flights_store: Path, tmp_path: Path) -> None:
    path = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(*options(flights_store, "--idle-timeout", "1"), cwd=tmp_path) as server:
        files = Path(f"/proc/{server.process.pid}/fd")
        with connected(server) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.sendall(path * 200)
            open_files = len([*files.iterdir()])
            wait_until(lambda: len([*files.iterdir()]) < open_files)
        assert server.get("/health/live")[0] == 200


def test_a_refusal_reaches_a_caller_that_is_still_sending(small_server: Server) -> None:
    with connected(small_server) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(20):
            caller.sendall(b" " * 1_000_000)
        assert received(caller).startswith(b"HTTP/1.1 413 ")
