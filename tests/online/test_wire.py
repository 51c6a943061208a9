"""What a connection takes for a request, byte by byte: wire.toml has the cases."""

from __future__ import annotations

import json
import re
import socket
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Server, serving, wait_until
from tests.online.asking import rejected
from tests.online.test_faults import metrics, options
from trivet.online.problems import MEDIA_TYPE

GROUPS = tomllib.loads(Path(__file__).with_name("wire.toml").read_text())
CASES = {f"{group}: {name}": case for group in GROUPS for name, case in GROUPS[group].items()}
#: Asks for what no case does, so that its answer can be told from those before it.
LAST = b"GET /the-last-one HTTP/1.1\r\nHost: a\r\n\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n")


def writes(case: dict[str, Any]) -> list[bytes]:
    """What is sent, each write by itself."""
    texts: list[Any] = [case["sent"]] if isinstance(case["sent"], str) else case["sent"]
    pairs = [each if isinstance(each, list) else [each, 1] for each in texts]
    return [text.encode("latin-1") * times for text, times in pairs]


def outcome(case: dict[str, Any]) -> tuple[list[int], bool]:
    """The statuses of the answers, and whether the connection is then closed."""
    words = case["gets"].removesuffix("closed").split()
    pairs = [word.partition("*") for word in words]
    statuses = [int(status) for status, _, times in pairs for _ in range(int(times or 1))]
    return statuses, case["gets"].endswith("closed")


def connected(url: str) -> closing[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    caller = socket.create_connection((host, int(port)), timeout=30)
    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return closing(caller)


def received(caller: socket.socket, until: bytes = b"\0") -> bytes:
    """All that arrives until the connection is closed, or until these bytes were in it."""
    answers = b""
    while until not in answers and (more := caller.recv(65_536)):
        answers += more
    return answers


def answers_of(
    server: Server, sent: list[bytes], closes: bool, pause: float = 0.03
) -> list[tuple[int, str, bytes]]:
    """Status, head and body of each answer, once the connection is found to be closed or alive.

    Before each write but the first there is a pause, so that it is read by itself.
    """
    with connected(server.url) as caller:
        for at, write in enumerate(sent):
            if at:
                time.sleep(pause)
            caller.sendall(write)
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


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_sent_gets_these_answers_and_no_other(
    small_server: Server, case: dict[str, Any]
) -> None:
    sent, (statuses, closes) = writes(case), outcome(case)
    answers = answers_of(small_server, sent, closes)
    assert [status for status, _, _ in answers] == statuses
    for status, head, body in answers:
        if status == 100:
            assert head == ""
            continue
        assert "x-request-id: " in head
        if status >= 400 and body.startswith(b'{"type"'):
            assert f"content-type: {MEDIA_TYPE}" in head
        if status == 304 or (b"HEAD " in b"".join(sent) and not body):
            continue
        assert f"content-length: {len(body)}\r\n" in head


def test_a_request_in_single_bytes_gets_the_same_answers(small_server: Server) -> None:
    def statuses(case: dict[str, Any]) -> tuple[list[int], bool]:
        (sent,), (_, closes) = writes(case), outcome(case)
        single = [sent[at : at + 1] for at in range(len(sent))]
        answers = answers_of(small_server, single, closes, pause=0.001)
        return [status for status, _, _ in answers], closes

    whole = {name: case for name, case in CASES.items() if isinstance(case["sent"], str)}
    small = {name: case for name, case in whole.items() if len(case["sent"]) < 300}
    with ThreadPoolExecutor(16) as threads:
        answered = dict(zip(small, threads.map(statuses, small.values()), strict=True))
    assert answered == {name: outcome(case) for name, case in small.items()}
    assert len(small) > 200


@pytest.mark.parametrize("path", ["/health/live", "/model", "/docs", "/none"])
def test_the_answer_to_head_is_that_to_get_without_its_body(
    small_server: Server, path: str
) -> None:
    sent = [f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for method in ("GET", "HEAD")]
    [(status, head, body)], [(*same, nothing)] = (
        answers_of(small_server, [each], closes=False) for each in sent
    )
    heads = [re.sub(r"(x-request-id|date): .*\r\n", "", each) for each in (head, str(same[1]))]
    assert (same[0], heads[1], nothing) == (status, heads[0], b"")
    assert body


def test_nothing_is_read_after_a_key_was_refused(
    flights_store: Path, keys: Path, tmp_path: Path
) -> None:
    post = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
    with serving(*options(flights_store, "--api-key-file", str(keys)), cwd=tmp_path) as server:
        for sent in ([post + b"{}" + LIVE], [post, b"{}" + LIVE], [post, LIVE]):
            answers = answers_of(server, sent, closes=True)
            assert [status for status, _, _ in answers] == [401]


def test_a_body_is_no_request_on_any_route_whatever_the_upgrade(small_server: Server) -> None:
    upgrade = f"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {len(LIVE)}\r\n\r\n"
    paths = json.loads(small_server.get("/openapi.json")[1])["paths"]
    for path, methods in paths.items():
        for method in methods:
            line = f"{method.upper()} {path.replace('{model}', 'flights')} HTTP/1.1\r\nHost: a\r\n"
            answers = answers_of(small_server, [(line + upgrade).encode(), LIVE], closes=False)
            assert len(answers) == 1


@pytest.mark.parametrize("first", [50, 20_000, 33_000, 40_000])
def test_a_long_head_is_refused_behind_another_request(small_server: Server, first: int) -> None:
    sent = LIVE + LIVE.replace(b"Host", b"X: %b\r\nHost" % (b"x" * 33_000))
    answers = answers_of(small_server, [sent[:first], sent[first:]], closes=True)
    assert [status for status, _, _ in answers] == [200, 431]


def test_long_trailers_are_refused_however_they_arrive(small_server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    trailers = b"A: %b\r\n\r\n" % (b"x" * 33_000)
    for sent in ([head + trailers + LIVE], [head, trailers + LIVE]):
        answers = answers_of(small_server, sent, closes=True)
        assert [answer[0] for answer in answers] == [431]


def test_a_request_that_cannot_be_read_is_counted_and_logged(small_server: Server) -> None:
    before = rejected(small_server, "malformed")
    ((_, head, _),) = answers_of(small_server, [b"GET /x HTTP/1.1\r\n\r\n"], closes=True)
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
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(many)
    with serving(*options(flights_store), cwd=tmp_path) as server:
        with connected(server.url) as caller:
            caller.sendall(head + many + b"garbage\r\n\r\n")
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        counted = 'trivet_requests_total{route="/predict",status="%d"}'
        wait_until(lambda: counted % 499 in metrics(server))
        assert metrics(server)[counted % 499] == 1
        assert counted % 200 not in metrics(server)
        assert not [line for line in server.logs() if line["level"] != "info"]


def test_a_body_that_breaks_off_is_refused_behind_a_prefix_too(
    flights_store: Path, tmp_path: Path
) -> None:
    body = (ROOT / "data/flight.json").read_bytes()
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = [head + b"%x\r\n%b\r\n" % (len(body), body), b"zz\r\n"]
    with serving(*options(flights_store, "--root-path", "/models/it"), cwd=tmp_path) as server:
        answers = answers_of(server, sent, closes=True)
    assert [status for status, _, _ in answers] == [400]


def test_a_connection_without_a_request_is_closed(flights_store: Path, tmp_path: Path) -> None:
    with (
        serving(*options(flights_store, "--idle-timeout", "1"), cwd=tmp_path) as server,
        connected(server.url) as silent,
        connected(server.url) as half,
        connected(server.url) as again,
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
        time.sleep(1)  # those who asked whether it is ready have left
        before = len([*files.iterdir()])
        with connected(server.url) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.sendall(path * 200)
            wait_until(lambda: len([*files.iterdir()]) > before)
            wait_until(lambda: len([*files.iterdir()]) == before)
        assert server.get("/health/live")[0] == 200


def test_a_refusal_reaches_a_caller_that_is_still_sending(small_server: Server) -> None:
    with connected(small_server.url) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(20):
            caller.sendall(b" " * 1_000_000)
        assert received(caller).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_trickles_in_is_408(flights_store: Path, tmp_path: Path) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
    with serving(*options(flights_store, "--deadline", "0.5"), cwd=tmp_path) as server:
        with connected(server.url) as caller:
            caller.sendall(head)
            caller.settimeout(0.05)
            answer = b""
            for _ in range(100):
                caller.sendall(b" ")
                with suppress(TimeoutError):
                    answer = received(caller, b"\r\n\r\n")
                    break
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


def test_a_caller_that_ends_its_side_has_left(flights_store: Path, tmp_path: Path) -> None:
    flight = (ROOT / "data/flight.json").read_bytes()
    body = b'{"instances":[' + b",".join([flight] * 9000) + b"]}"
    with serving(*options(flights_store), cwd=tmp_path) as server:
        with connected(server.url) as caller:
            caller.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\n")
            caller.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            caller.shutdown(socket.SHUT_WR)
            assert received(caller) == b""
        gone = 'trivet_requests_total{route="/predict",status="499"}'
        wait_until(lambda: gone in metrics(server))
