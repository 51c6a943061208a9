"""The fast path and the application give the same answers, byte for byte, and count the same."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, serving
from tests.online.asking import CSV, FLIGHT, HEADER, JSON, LINE
from tests.online.test_faults import metrics
from tests.online.test_wire import connected, received
from trivet.online.fast_path import SMALL

#: A header that sends a request past the fast path, and changes nothing else.
BY_ASGI = "Content-Encoding: identity\r\n"
TABLE = f"{HEADER}\n{LINE}\n".encode()
RECORD = json.dumps(FLIGHT).encode()
MANY = json.dumps({"instances": [FLIGHT] * 20}).encode()
REQUESTS = {
    "a record": (RECORD, f"Content-Type: {JSON}\r\n"),
    "no media type": (RECORD, ""),
    "many records": (MANY, ""),
    "no records": (b'{"instances": []}', ""),
    "a table": (TABLE, f"Content-Type: {CSV}\r\n"),
    "an answer in CSV": (RECORD, f"Accept: {CSV}\r\n"),
    "an answer of no known type": (RECORD, "Accept: image/png\r\n"),
    "a long answer to be compressed": (
        TABLE + f"{LINE}\n".encode() * 200,
        f"Content-Type: {CSV}\r\nAccept-Encoding: gzip\r\n",
    ),
    "a body of another type": (RECORD, "Content-Type: text/html\r\n"),
    "a body that is no JSON": (b"{", ""),
    "an unknown field": (json.dumps(FLIGHT | {"wings": 2}).encode(), ""),
    "a value that can't be": (json.dumps(FLIGHT | {"dep_delay": "soon"}).encode(), ""),
    "no body": (b"", ""),
}


@pytest.fixture(scope="module")
def server(flights_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path_factory.mktemp("fast")) as server:
        yield server


def answer(server: Server, body: bytes, headers: str, path: str = "/predict") -> bytes:
    """All that the service answers to a request, but for the date."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Request-ID: the-one\r\n{headers}"
    with connected(server.url) as caller:
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        caller.sendall(b"GET /the-last-one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = received(caller, b"there is no /the-last-one")
    return re.sub(rb"date: [^\r]+", b"date:", answers[: answers.rindex(b"HTTP/1.1 404")])


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize("case", REQUESTS)
def test_both_ways_answer_alike(server: Server, case: str, path: str) -> None:
    body, headers = REQUESTS[case]
    assert len(body) <= SMALL
    fast = answer(server, body, headers, path)
    assert fast.startswith(b"HTTP/1.1 ")
    assert b"x-request-id: the-one\r\n" in fast
    assert fast == answer(server, body, headers + BY_ASGI, path)


def test_both_ways_count_alike(server: Server) -> None:
    def counted(added: str) -> dict[str, float]:
        before = metrics(server)
        for body, headers in REQUESTS.values():
            answer(server, body, headers + added)
        after = metrics(server)
        names = (
            name
            for name in after
            if re.search(r"(_total|_count)(\{|$)", name) and "/metrics" not in name
            if "trivet_batch" not in name
        )
        return {name: more for name in names if (more := after[name] - before.get(name, 0))}

    fast = counted("")
    assert fast['trivet_requests_total{route="/predict",status="200"}'] == 7
    assert fast == counted(BY_ASGI)


def test_a_body_that_arrives_later_is_answered(server: Server) -> None:
    with connected(server.url) as caller:
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(RECORD)}\r\n\r\n"
        for part in (head.encode(), RECORD[:50], RECORD[50:]):
            caller.sendall(part)
            time.sleep(0.05)
        assert received(caller, b"model_version").startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    def request(number: int) -> bytes:
        added = BY_ASGI if number % 3 == 0 else ""  # so that both ways take turns
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nX-Request-ID: {number}\r\n{added}"
        return f"{head}Content-Length: {len(RECORD)}\r\n\r\n".encode() + RECORD

    with connected(server.url) as caller:
        caller.sendall(b"".join(map(request, range(12))))
        caller.sendall(b"GET /the-last-one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = received(caller)
    ids = re.findall(rb"x-request-id: (\d+)\r\n", answers)
    assert [int(each) for each in ids[:12]] == list(range(12))


def test_a_caller_that_leaves_before_its_body_is_there_is_counted(server: Server) -> None:
    name = 'trivet_requests_total{route="/predict",status="499"}'
    before = metrics(server).get(name, 0)
    with connected(server.url) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.1)
    time.sleep(0.2)
    assert metrics(server)[name] == before + 1
    assert metrics(server)["trivet_in_flight"] == 1
