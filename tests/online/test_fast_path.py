"""The fast path and the application give the same answers, byte for byte, and count the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, serving
from tests.online.asking import CSV, FLIGHT, HEADER, JSON, LINE
from tests.online.test_faults import metrics
from tests.online.test_wire import CASES, answers_of, connected, outcome, received, writes
from trivet.online.fast_path import PLAIN_BYTES

#: A header that sends a request past the fast path, and changes nothing else.
BY_ASGI = "Content-Encoding: identity\r\n"
#: Run as Python starts: a service takes no request as a plain one, and so has no fast path.
NO_FAST_PATH = """
from trivet.online.fast_path import FastPath

FastPath.begin = lambda *_: None
"""
#: Run as Python starts: uvicorn's protocol has another name for what `trivet.online.wire` uses.
OTHER_UVICORN = """
import importlib.util, pathlib, sys

spec = importlib.util.find_spec("uvicorn.protocols.http.httptools_impl")
text = pathlib.Path(spec.origin).read_text().replace("_start_asgi_task", "_begin_asgi_task")
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
exec(text, module.__dict__)
"""
#: The tests whose requests both ways answer.
CORPUS = ("protocols", "test_limits.py", "test_fuzz.py", "test_csv.py", "test_negotiation.py")
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
    with serving(*options(flights_store), cwd=tmp_path_factory.mktemp("fast")) as server:
        yield server


@pytest.fixture(scope="module")
def by_asgi(flights_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same service without the fast path."""
    with changed(NO_FAST_PATH, flights_store, tmp_path_factory.mktemp("asgi")) as server:
        yield server


def options(store: Path) -> tuple[str, ...]:
    return "--model", "flights", "--models-dir", str(store), "--max-body", "40000"


@contextmanager
def changed(code: str, store: Path, folder: Path) -> Iterator[Server]:
    """A service that runs this code before its own."""
    # Python only prints an error in that file; this shows that all of it ran.
    done = f"{code}\nimport pathlib\n\npathlib.Path({str(folder / 'done')!r}).touch()\n"
    (folder / "sitecustomize.py").write_text(done)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(folder))
            server = stack.enter_context(serving(*options(store), cwd=folder))
        assert (folder / "done").exists()
        yield server


def request(body: bytes, headers: str, path: str = "/predict") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answers(server: Server, sent: list[bytes], closes: bool = False) -> list[Any]:
    """Statuses, heads and bodies of a connection's answers, but for dates and requests' ids."""
    return [
        (status, re.sub(r"(date: |x-request-id: [\da-f]{32}).*", "", head), body)
        for status, head, body in answers_of(server, sent, closes)
    ]


def counters(server: Server) -> Counter[str]:
    """What has been counted, but for the requests that ask for it, and times."""
    time.sleep(0.3)  # a connection's end is noticed, and counts are added up
    return Counter(
        {
            name: int(value)
            for name, value in metrics(server).items()
            if re.search(r"(_total|_count)(\{|$)", name)
            if "/metrics" not in name and "trivet_batch" not in name
        }
    )


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
@pytest.mark.parametrize("case", REQUESTS)
def test_both_ways_answer_alike(server: Server, by_asgi: Server, case: str, path: str) -> None:
    body, headers = REQUESTS[case]
    assert len(body) <= PLAIN_BYTES
    sent = [request(body, headers + "X-Request-ID: the-one\r\n", path)]
    fast = answers(server, sent)
    assert ["x-request-id: the-one\r\n" in head for _, head, _ in fast] == [True]
    assert fast == answers(by_asgi, sent)


def test_both_ways_count_alike(server: Server, by_asgi: Server) -> None:
    counted = []
    for each in (server, by_asgi):
        before = counters(each)
        for body, headers in REQUESTS.values():
            answers(each, [request(body, headers)])
        counted.append(counters(each) - before)
    assert counted[0]['trivet_requests_total{route="/predict",status="200"}'] == 7
    assert counted[0] == counted[1]


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if "POST" in str(case)])
def test_both_ways_take_the_same_for_a_request(server: Server, by_asgi: Server, case: str) -> None:
    sent, closes = writes(CASES[case]), outcome(CASES[case])[1]
    assert answers(server, sent, closes) == answers(by_asgi, sent, closes)


@pytest.mark.slow
def test_both_ways_answer_and_count_alike_what_all_tests_ask(
    server: Server, by_asgi: Server, tmp_path: Path
) -> None:
    """The requests of the tests of adapters, limits and fuzz, each on both ways."""
    corpus = tmp_path / "corpus"
    modules = [f"tests/online/{each}" for each in CORPUS]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.online.corpus",
            "-m",
            "not slow",
            *modules,
        ],
        cwd=ROOT,
        env={**os.environ, "TRIVET_CORPUS": str(corpus)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    requests = [bytes.fromhex(line) for line in corpus.read_text().split()]
    assert len(requests) > 1000
    before = [counters(each) for each in (server, by_asgi)]
    different = [each for each in requests if answers(server, [each]) != answers(by_asgi, [each])]
    assert different == []
    fast, slow = (counters(each) - old for each, old in zip((server, by_asgi), before, strict=True))
    assert fast['trivet_requests_total{route="/predict",status="200"}'] > 100
    assert fast == slow


def test_with_a_uvicorn_that_is_not_known_it_says_so_and_serves(
    flights_store: Path, tmp_path: Path
) -> None:
    with changed(OTHER_UVICORN, flights_store, tmp_path) as server:
        assert server.post("/predict", FLIGHT)[0] == 200
        warning = next(line["message"] for line in server.logs() if line["level"] == "warning")
    assert "its HttpToolsProtocol has no _start_asgi_task" in warning


def test_a_body_that_arrives_later_is_answered(server: Server) -> None:
    with connected(server.url) as caller:
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(RECORD)}\r\n\r\n"
        for part in (head.encode(), RECORD[:50], RECORD[50:]):
            caller.sendall(part)
            time.sleep(0.05)
        assert received(caller, b"model_version").startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    def numbered(number: int) -> bytes:
        added = BY_ASGI if number % 3 == 0 else ""  # so that both ways take turns
        head = f"POST /predict HTTP/1.1\r\nHost: a\r\nX-Request-ID: {number}\r\n{added}"
        return f"{head}Content-Length: {len(RECORD)}\r\n\r\n".encode() + RECORD

    with connected(server.url) as caller:
        caller.sendall(b"".join(map(numbered, range(12))))
        caller.sendall(b"GET /the-last-one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answers = received(caller)
    ids = re.findall(rb"x-request-id: (\d+)\r\n", answers)
    assert [int(each) for each in ids[:12]] == list(range(12))


def test_a_slow_body_keeps_its_place_when_it_is_passed_on(
    flights_store: Path, tmp_path: Path
) -> None:
    limits = ("--max-in-flight", "1", "--deadline", "2")
    with (
        serving(*options(flights_store), *limits, cwd=tmp_path) as server,
        connected(server.url) as caller,
    ):
        caller.sendall(request(RECORD, "")[:-1])
        time.sleep(0.05)
        with connected(server.url) as other:  # whose requests are refused without a pause
            end = time.monotonic() + 0.5
            while time.monotonic() < end:  # meanwhile the first is passed on
                other.sendall(request(RECORD, "") * 10)
                refusals = b""
                while refusals.count(b"try again later") < 10:
                    refusals += other.recv(65_536)
                    assert b"HTTP/1.1 200 " not in refusals
        caller.sendall(RECORD[-1:])
        assert received(caller, b"model_version").startswith(b"HTTP/1.1 200 ")


def test_pages_of_other_origins_get_the_application_alone(
    flights_store: Path, tmp_path: Path
) -> None:
    """Its answers say that they differ by Origin, even to a caller that sends none."""
    allowed = ("--cors-origin", "https://a.example")
    with serving(*options(flights_store), *allowed, cwd=tmp_path) as server:
        ((status, head, _),) = answers(server, [request(RECORD, "")])
    assert status == 200
    assert "origin" in re.findall(r"vary: (.*)\r", head)[0]


def test_a_caller_that_leaves_before_its_body_is_there_is_counted(server: Server) -> None:
    name = 'trivet_requests_total{route="/predict",status="499"}'
    before = metrics(server).get(name, 0)
    with connected(server.url) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.1)
    time.sleep(0.2)
    assert metrics(server)[name] == before + 1
    assert metrics(server)["trivet_in_flight"] == 1
