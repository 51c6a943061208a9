"""How much a service takes on, and what it says when that is too much."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.conftest import TRIVET, Server, free_port, ready_client, run_trivet, serving, wait_until
from tests.online.asking import (
    ASKED,
    FLIGHT,
    HEADER,
    LINE,
    SECURITY,
    assert_refused_before_its_end,
    assert_refused_unsent,
    head,
    post_csv,
    problem,
    raw,
    rejected,
)  # fmt: skip
from tests.online.callers import Caller
from tests.online.processes import other_processes
from trivet.errors import RecordsRejected, SettingsError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.online.inference import BODIES, LARGE
from trivet.online.payloads import json_answer
from trivet.online.settings import ServeSettings
from trivet.rows.arrays import Rows

MANY = {"instances": [FLIGHT] * 300}
#: Of a service that does not end the requests that a test holds open.
PATIENT = ("--deadline", "600")
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


@contextmanager
def service(store: Path, **settings: Any) -> Iterator[TestClient]:
    with ready_client(replace(ServeSettings("flights", models_dir=store), **settings)) as client:
        yield client


def test_what_is_beyond_the_room_is_turned_away_at_once(
    flights_store: Path, tmp_path: Path
) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store), "--max-in-flight", "2")
    with serving(*options, *PATIENT, cwd=tmp_path) as server, ExitStack() as waiting:
        host, _, port = server.url.removeprefix("http://").partition(":")
        for _ in range(2):  # which send half a request, and stay
            caller = waiting.enter_context(socket.create_connection((host, int(port))))
            caller.sendall(HEAD)
        wait_until(lambda: b"trivet_in_flight 3.0" in server.get("/metrics")[1])
        status, body = server.post("/predict", FLIGHT)
        assert (status, body["title"]) == (503, "Service Unavailable")
        assert server.get("/model")[0] == 503
        for path in ("/health", "/health/live", "/health/ready"):
            assert server.get(path)[0] == 200, path
        assert b'trivet_rejected_total{reason="overload"} 2.0' in server.get("/metrics")[1]
        waiting.close()
        wait_until(lambda: server.post("/predict", FLIGHT)[0] == 200)


def test_bodies_that_are_too_large_together_are_turned_away(
    flights_store: Path, tmp_path: Path
) -> None:
    size = 40_000
    options = ["--model", "flights", "--models-dir", str(flights_store), "--max-body", str(size)]
    begun = HEAD.replace(b"10", b"%d" % size)
    options += ["--max-in-flight", "19", *PATIENT]
    with serving(*options, cwd=tmp_path) as server, ExitStack() as waiting:
        host, _, port = server.url.removeprefix("http://").partition(":")
        for _ in range(BODIES):  # which send all but a byte, and stay
            holder = waiting.enter_context(socket.create_connection((host, int(port))))
            holder.sendall(begun + b" " * (size - 1))
        caller = waiting.enter_context(closing(Caller(server.url)))
        wait_until(lambda: (caller.post(FLIGHT) or (0,))[0] == 503)
        assert caller.closed
        assert "640,000 bytes are in flight" in caller.answers[-1][1]["detail"]
        assert server.get("/health/ready")[0] == server.get("/model")[0] == 200
        waiting.close()
        wait_until(lambda: server.post("/predict", FLIGHT)[0] == 200)


def test_it_says_when_to_ask_again(flights_store: Path) -> None:
    with service(flights_store, max_in_flight=0) as client:
        response = client.post("/predict", json=FLIGHT)
    assert "try again later" in problem(response, 503)["detail"]
    assert response.headers["retry-after"] == "1"


def test_a_body_that_does_not_arrive_is_408(flights_store: Path, tmp_path: Path) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store), "--deadline", "0.3")
    with serving(*options, cwd=tmp_path) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as caller:
            caller.sendall(HEAD)
            answer = b"".join(iter(lambda: caller.recv(65_536), b""))  # until it is closed
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
        assert b"did not arrive within 0.3 seconds" in answer


@contextmanager
def paused(client: TestClient) -> Iterator[int]:
    """The service's process for large bodies, which answers none until the block ends."""
    before = other_processes(os.getpid())
    wait_until(lambda: client.post("/predict", json=MANY).status_code == 200)
    (process,) = other_processes(os.getpid()) - before
    os.kill(process, signal.SIGSTOP)
    yield process
    os.kill(process, signal.SIGCONT)


def rows_counted(client: TestClient) -> float:
    (rows,) = re.findall(r"^trivet_rows_total (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(rows)


def test_an_answer_that_takes_too_long_is_504_and_what_waits_is_never_begun(
    flights_store: Path,
) -> None:
    others = {"instances": [FLIGHT] * 299}
    with service(flights_store, deadline=2) as client, paused(client) as process:
        before = rows_counted(client)
        responses: list[Any] = []
        callers = [
            threading.Thread(target=lambda: responses.append(client.post("/predict", json=MANY)))
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        for response in responses:
            assert "no answer within 2 seconds" in problem(response, 504)["detail"]
        os.kill(process, signal.SIGCONT)
        # Once the process answers what came later, it has come to all that waited before.
        wait_until(lambda: client.post("/predict", json=others).status_code == 200)
        assert rows_counted(client) == before + 300 + 299
        assert client.post("/predict", json=FLIGHT).status_code == 200


@contextmanager
def asking_for_many(client: TestClient) -> Iterator[list[Any]]:
    """The answer to a large request that is in flight; it is there when the block has ended."""
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(client.post("/predict", json=MANY)))
    caller.start()
    wait_until(lambda: "trivet_in_flight 2.0" in client.get("/metrics").text)
    yield answers
    caller.join()


def test_a_large_request_does_not_hold_up_small_ones(flights_store: Path) -> None:
    assert len(json.dumps(MANY)) > LARGE
    with service(flights_store, deadline=300) as client:
        with ExitStack() as stack:
            process = stack.enter_context(paused(client))
            large = stack.enter_context(asking_for_many(client))
            assert client.post("/predict", json=FLIGHT).status_code == 200
            assert not large
            os.kill(process, signal.SIGCONT)
        assert len(large[0].json()["predictions"]) == 300


def test_rows_that_are_in_flight_while_the_version_changes_are_counted(
    two_versions: ModelStore,
) -> None:
    first, second = two_versions.versions("flights")
    two_versions.promote("flights", first)
    with service(two_versions.root, reload_every=0.02, deadline=300) as client:
        with paused(client) as process:
            before = rows_counted(client)
            with asking_for_many(client):
                two_versions.promote("flights", second)
                wait_until(lambda: client.get("/model").json()["version"] == second)
                os.kill(process, signal.SIGCONT)
        assert rows_counted(client) == before + len(MANY["instances"])
        assert 'trivet_reloads_total{outcome="loaded"} 1.0' in client.get("/metrics").text


def test_an_answer_is_the_same_in_either_process(
    flights_store: Path, predictor: Predictor, flights: Artifact
) -> None:
    predictions = predictor.predict_records(MANY["instances"])
    with service(flights_store) as client:
        content = client.post("/predict", json=MANY).content
    assert content == json_answer(predictions, flights.manifest)


def test_a_large_request_whose_process_dies_is_503_and_the_next_one_gets_another(
    flights_store: Path,
) -> None:
    with service(flights_store, deadline=300) as client:
        before = other_processes(os.getpid())
        with ExitStack() as stack:
            process = stack.enter_context(paused(client))
            large = stack.enter_context(asking_for_many(client))
            os.kill(process, signal.SIGKILL)
            wait_until(lambda: bool(large))
            assert "died; try again" in problem(large[0], 503)["detail"]
            assert large[0].headers["retry-after"] == "1"
            assert client.post("/predict", json=FLIGHT).status_code == 200
            assert client.post("/predict", json=MANY).status_code == 200
            (other,) = other_processes(os.getpid()) - before
            assert other != process
            stack.pop_all()


def test_a_process_that_died_while_it_had_nothing_to_do_fails_no_request(
    flights_store: Path,
) -> None:
    with service(flights_store) as client:
        before = other_processes(os.getpid())
        assert client.post("/predict", json=MANY).status_code == 200
        (process,) = other_processes(os.getpid()) - before
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)  # and leave it to the service
        assert client.post("/predict", json=MANY).status_code == 200


def test_a_large_body_for_a_version_that_is_gone_is_503(
    two_versions: ModelStore, tmp_path: Path
) -> None:
    shutil.copytree(two_versions.root, tmp_path / "models")
    with service(tmp_path / "models", reload_every=0) as client:
        version = client.get("/model").json()["version"]
        shutil.rmtree(tmp_path / "models" / "flights" / version)
        detail = problem(client.post("/predict", json=MANY), 503)["detail"]
        assert f"version {version} can't be loaded for large bodies" in detail
        assert client.post("/predict", json=FLIGHT).status_code == 200


def test_a_large_request_gets_the_answers_of_small_ones(flights_store: Path) -> None:
    with service(flights_store) as client:
        delays = [*range(300)]
        instances = [{**FLIGHT, "dep_delay": delay} for delay in delays]
        together = client.post("/predict", json={"instances": instances}).json()["predictions"]
        alone = [client.post("/predict", json=each).json()["predictions"][0] for each in instances]
    for one, other in zip(together, alone, strict=True):
        assert one["prediction"] == other["prediction"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], rel=1e-9)


def test_a_model_without_a_compiled_form_is_served_in_micro_batches(uncompiled: Artifact) -> None:
    predictor = Predictor.load(uncompiled)
    expected = predictor.predict_records([FLIGHT]).probabilities
    assert expected is not None
    # Time enough for the process for large bodies to import all of scikit-learn on a busy machine.
    with service(uncompiled.path.parent.parent, deadline=60.0) as client:
        assert client.get("/model").json()["compiled"] is False
        (answer,) = client.post("/predict", json=FLIGHT).json()["predictions"]
        assert answer["probabilities"]["true"] == pytest.approx(expected[0, 1])
        assert len(client.post("/predict", json=MANY).json()["predictions"]) == 300
        bad = {**FLIGHT, "month": "x"}
        problem(client.post("/predict", json=bad), 422)


def test_the_faults_of_a_request_are_listed_up_to_a_hundred(flights_store: Path) -> None:
    with service(flights_store) as client:
        body = problem(client.post("/predict", json={"instances": [{"a": 1}] * 5000}), 422)
    assert len(body["errors"]) == 100
    assert sum("nearest" in fault for fault in body["errors"]) <= 20


@pytest.mark.parametrize("name", ["deadline", "drain", "reload_every"])
@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, "1", True])
def test_what_is_no_time_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(SettingsError, match=f"{name}={seconds!r}: it is a number of seconds from"):
        ServeSettings(**{name: seconds})


def test_a_time_that_is_no_number_is_one_line(flights_store: Path, tmp_path: Path) -> None:
    options = ("--model", "flights", "--models-dir", flights_store, "--deadline", "nan")
    result = run_trivet("serve", *options, cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "deadline=nan" in result.stderr


LONG = "x" * 30_000
#: Each way in for text that an answer repeats.
REPEATED = [
    ("GET", f"/{LONG}", {}),
    ("PUT", f"/v2/models/{LONG}", {}),
    ("GET", f"/v2/models/{LONG}", {}),
    ("POST", "/predict", {"headers": {"Content-Type": LONG}}),
    ("POST", "/predict", {"headers": {"Content-Encoding": LONG}}),
    ("POST", "/predict", {"json": {LONG: 1}}),
    ("POST", "/predict", {"json": {"instances": [], LONG: 1}}),
    ("POST", "/predict", {"content": f"{LONG},{LONG}", "headers": {"Content-Type": "text/csv"}}),
    ("POST", "/invocations", {"json": {"inputs": [], LONG: 1}}),
    ("POST", "/v2/models/flights/infer", {"json": {"inputs": [], "outputs": [{"name": LONG}]}}),
]


@pytest.mark.parametrize(("method", "path", "content"), REPEATED)
def test_an_answer_repeats_no_more_than_the_ends_of_a_long_text(
    client: TestClient, method: str, path: str, content: dict[str, Any]
) -> None:
    response = client.request(method, path, **content)
    assert response.status_code >= 400
    assert "xxx...xxx" in response.text
    assert len(response.content) < 2_000


def test_a_long_path_is_logged_by_its_ends(
    flights_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trivet.access")
    with service(flights_store, access_log=True) as client:
        client.get(f"/{LONG}")
    facts, line = caplog.records[-1].facts, caplog.records[-1].getMessage()  # type: ignore[attr-defined]
    assert len(facts["path"]) < len(line) < 1_100


def test_unknown_fields_leave_nothing_behind(predictor: Predictor) -> None:
    def reject(number: int) -> None:
        with pytest.raises(RecordsRejected):
            predictor.encode([{f"{number}{LONG}": 1}])

    reject(0)
    tracemalloc.start()
    try:
        for number in range(1, 101):
            reject(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000


def test_rows_without_a_finite_answer_are_listed_up_to_a_hundred(predictor: Predictor) -> None:
    class Overflowing:
        def answers(self, rows: Rows) -> Rows:
            return np.full(len(rows), np.nan)

    with pytest.raises(RecordsRejected) as raised:
        Predictor(predictor.contract, Overflowing()).predict(np.zeros((5000, 1)))
    assert len(raised.value.faults) == 100


def test_the_word_that_sagemaker_adds_is_taken(tmp_path: Path) -> None:
    result = run_trivet("serve", "serve", cwd=tmp_path)
    assert "no model in this store" in result.stderr


@pytest.mark.slow
def test_the_end_does_not_wait_for_a_log_that_nobody_reads(
    flights_store: Path, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    options = ["--model", "flights", "--models-dir", str(flights_store), "--access-log"]
    port = free_port()
    process = subprocess.Popen(
        [TRIVET, "serve", "--port", str(port), "--drain", "0", *options],
        cwd=tmp_path, stdout=writing,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        caller = Caller(url)
        wait_until(lambda: caller.post(FLIGHT) is not None)
        for _ in range(1000):  # a pipe holds some 300 lines
            assert caller.post(FLIGHT)
        caller.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


def test_a_body_that_says_it_is_too_large_is_refused_unsent(small_server: Server) -> None:
    assert "40,000 bytes" in assert_refused_unsent(small_server, "/predict")["detail"]


def test_a_body_that_turns_out_too_large_is_refused_before_its_end(small_server: Server) -> None:
    assert_refused_before_its_end(small_server, "/predict")


def test_a_body_of_just_the_size_is_taken(small_server: Server) -> None:
    body = json.dumps(ASKED).encode().ljust(40_000)
    assert len(body) > LARGE
    length = head("/predict", "Content-Length: 40000")
    assert raw(small_server, length, body)[0] == 200


def test_more_records_than_are_taken_are_refused(small_server: Server) -> None:
    before = rejected(small_server, "too_many_rows")
    status, body = small_server.post("/predict", {"instances": [ASKED] * 51})
    assert (status, body["title"]) == (413, "Content Too Large")
    assert "50 records" in body["detail"]
    assert small_server.post("/predict", {"instances": [ASKED] * 50})[0] == 200
    assert post_csv(small_server, "/predict", "\n".join([HEADER, *[LINE] * 51])) == 413
    large = json.dumps({"instances": [ASKED] * 51}).encode().ljust(40_000)
    assert raw(small_server, head("/predict", "Content-Length: 40000"), large)[0] == 413
    assert rejected(small_server, "too_many_rows") == before + 3


def test_a_server_does_not_name_its_software(small_server: Server) -> None:
    for lines in (("Content-Length: 2",), ("Content-Length: 2", "Content-Type: text/html")):
        status, headers, _ = raw(small_server, head("/predict", *lines), b"{}")
        assert status in (415, 422)
        assert "server" not in headers
        assert SECURITY.items() <= headers.items()


def test_a_request_id_is_in_the_log(small_server: Server) -> None:
    length = ("Content-Length: 2", "X-Request-ID: ours-7")
    assert raw(small_server, head("/predict", *length), b"{}")[1]["x-request-id"] == "ours-7"
    wait_until(lambda: "ours-7" in {line.get("request_id") for line in small_server.logs()})
    (line,) = [each for each in small_server.logs() if each.get("request_id") == "ours-7"]
    assert (line["path"], line["status"]) == ("/predict", 422)
