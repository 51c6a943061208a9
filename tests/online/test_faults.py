"""The service under load and faults: real processes, real signals, callers that count."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NOVEMBER, ROOT, Server, encoded, serving, wait_until
from tests.online.callers import Caller, calling
from tests.online.processes import command, fork_servers, other_processes, workers_of
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.rows.values import to_record

pytestmark = pytest.mark.slow

FLIGHT: dict[str, Any] = json.loads((ROOT / "data/flight.json").read_text())
#: A large body.
MANY = {"instances": [FLIGHT] * 300}

#: Run as Python starts: a fork server has no room for a third process, as at a limit.
NO_THIRD_FORK = """
import itertools, os, sys

if "forkserver" in str(sys.orig_argv):
    fork, forks = os.fork, itertools.count(1)

    def limited():
        if next(forks) == 3:
            raise BlockingIOError(11, "no process is left")
        return fork()

    os.fork = limited
"""
EVERY_ROUTE = [
    *("/", "/model", "/metrics", "/docs", "/openapi.json"),
    *("/health", "/health/live", "/health/ready"),
]


def options(store: ModelStore | Path, *more: str) -> tuple[str, ...]:
    root = store.root if isinstance(store, ModelStore) else store
    return ("--model", "flights", "--models-dir", str(root), *more)


def metrics(server: Server) -> dict[str, float]:
    """All samples by name and labels."""
    text = server.get("/metrics")[1].decode()
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def ready_workers(server: Server) -> float:
    """How many workers answer with a model."""
    samples = metrics(server).items()
    return sum(value for name, value in samples if name.startswith("trivet_model_info"))


def live_version(server: Server) -> str:
    version: str = json.loads(server.get("/model")[1])["version"]
    return version


@pytest.mark.parametrize("workers", ["1", "4"])
def test_metrics_add_up(flights_store: Path, tmp_path: Path, workers: str) -> None:
    def call(caller: Caller) -> bool:
        turn = len(caller.answers)
        unseen = {**FLIGHT, "carrier": "??", "dep_delay": 9999}
        caller.post(FLIGHT if turn % 2 else {"instances": [unseen, FLIGHT]})
        if turn % 10 == 0:
            caller.post({"month": "x"})
        return len(caller.answers) < 60

    with serving(*options(flights_store, "--workers", workers), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == int(workers))
        before = metrics(server)
        with calling(server.url, 8, call) as callers:
            wait_until(lambda: all(len(caller.answers) >= 60 for caller in callers))
        assert not any(caller.lost or caller.refused for caller in callers)
        answers = [answer for caller in callers for answer in caller.answers]
        statuses = Counter(status for status, _ in answers)
        assert statuses.keys() == {200, 422}
        rows = sum(len(body["predictions"]) for status, body in answers if status == 200)
        pairs = sum(len(body.get("predictions", ())) == 2 for _, body in answers)
        expected = {
            **{
                f'trivet_requests_total{{route="/predict",status="{status}"}}': count
                for status, count in statuses.items()
            },
            'trivet_request_seconds_count{route="/predict"}': len(answers),
            **{
                f'trivet_stage_seconds_count{{stage="{stage}"}}': statuses[200]
                for stage in ("parse", "predict", "write")
            },
            "trivet_batch_rows_sum": rows,
            "trivet_rows_total": rows,
            'trivet_unseen_values_total{feature="carrier"}': pairs,
            'trivet_out_of_range_values_total{feature="dep_delay"}': pairs,
            'trivet_missing_values_total{feature="wind_gust"}': rows,
        }

        def added_up() -> bool:
            after = metrics(server)
            grown = {name: after.get(name, 0) - before.get(name, 0) for name in expected}
            too_many = {name for name in expected if grown[name] > expected[name]}
            assert not too_many, grown
            # Only the request for the metrics itself is in flight.
            return grown == expected and after["trivet_in_flight"] <= 1

        wait_until(added_up)  # other workers count what the rows held a little later
        assert ready_workers(server) == int(workers)


def test_each_caller_gets_its_own_rows_back(
    flights_store: Path, predictor: Predictor, tmp_path: Path
) -> None:
    contract = predictor.contract
    rows = encoded(NOVEMBER, contract)[:2000]
    expected = predictor.predict(rows).probabilities
    assert expected is not None
    records = [to_record(row, contract) for row in rows]
    wrong: list[int] = []
    turns = iter(range(len(rows)))

    def call(caller: Caller) -> bool:
        turn = next(turns, None)
        if turn is None:
            return False
        answer = caller.post(records[turn])
        assert answer
        share = answer[1]["predictions"][0]["probabilities"]["true"]
        if abs(share - expected[turn, 1]) > 1e-9:
            wrong.append(turn)
        return True

    with (
        serving(*options(flights_store), cwd=tmp_path) as server,
        calling(server.url, 16, call) as callers,
    ):
        wait_until(lambda: sum(len(caller.answers) for caller in callers) == len(rows))
    assert not wrong


@pytest.mark.parametrize("body", [FLIGHT, MANY], ids=["small", "large"])
def test_reloads_under_load_fail_no_request(
    two_versions: ModelStore, tmp_path: Path, body: object
) -> None:
    def call(caller: Caller) -> bool:
        caller.post(body)
        return True

    versions = two_versions.versions("flights")
    with serving(*options(two_versions, "--reload-every", "0.02"), cwd=tmp_path) as server:
        with calling(server.url, 8, call) as callers:
            for turn in range(30):
                version = versions[turn % 2]
                two_versions.promote("flights", version)
                wait_until(lambda: live_version(server) == version)  # noqa: B023 - called here
        counts = metrics(server)
    assert not any(caller.lost or caller.refused for caller in callers)
    answers = [answer for caller in callers for answer in caller.answers]
    assert {status for status, _ in answers} == {200}
    shares: dict[str, set[float]] = {version: set() for version in versions}
    for _, answer in answers:
        shares[answer["model_version"]].add(answer["predictions"][0]["probabilities"]["true"])
    assert counts['trivet_reloads_total{outcome="loaded"}'] >= 29  # the first may be live at first
    assert counts['trivet_reloads_total{outcome="failed"}'] == 0
    # Each version has its own answer, but for floating-point sums: none came from the other model.
    first, second = ({round(share, 9) for share in shares[version]} for version in versions)
    assert len(first) == len(second) == 1
    assert first != second


def test_a_broken_version_is_not_taken_and_said_to_be_broken(
    two_versions: ModelStore, tmp_path: Path
) -> None:
    store = ModelStore(tmp_path / "models")
    shutil.copytree(two_versions.root, store.root)
    good, broken = store.versions("flights")
    store.promote("flights", good)
    with serving(*options(store, "--reload-every", "0.1"), cwd=tmp_path) as server:
        store.promote("flights", broken)
        wait_until(lambda: live_version(server) == broken)
        store.promote("flights", good)
        wait_until(lambda: live_version(server) == good)
        (store.root / "flights" / broken / "compiled.npz").write_bytes(b"cut short")
        store._point(store.root / "flights", broken)  # promote would refuse it
        wait_until(lambda: json.loads(server.get("/model")[1])["not_reloaded"] is not None)
        model = json.loads(server.get("/model")[1])
        assert model["version"] == good
        assert "SHA-256" in model["not_reloaded"]
        assert server.get("/health/ready")[0] == 200
        assert server.post("/predict", FLIGHT)[0] == 200
        assert metrics(server)['trivet_reloads_total{outcome="failed"}'] == 1
        assert any("not reloaded" in line["message"] for line in server.logs())
        store.promote("flights", good)
        wait_until(lambda: json.loads(server.get("/model")[1])["not_reloaded"] is None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_under_load_fails_no_request(
    flights_store: Path, tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    ready: list[int] = []

    def call(caller: Caller) -> bool:
        caller.post(FLIGHT)
        return not caller.closed  # as a balancer does: a caller that is sent away goes elsewhere

    # So long that each caller asks once more in this time, however busy the machine is.
    some = options(flights_store, "--workers", workers, "--drain", "6")
    with serving(*some, cwd=tmp_path) as server, calling(server.url, 16, call) as callers:
        wait_until(lambda: ready_workers(server) == int(workers))
        wait_until(lambda: all(len(caller.answers) > 20 for caller in callers))
        server.process.send_signal(number)
        wait_until(lambda: server.get("/health/ready")[0] == 503)
        ready.append(server.post("/predict", FLIGHT)[0])
        wait_until(lambda: all(caller.closed for caller in callers))
        assert server.process.wait(60) == 0
    assert ready == [200]  # not ready, and answering
    for caller in callers:
        assert not caller.lost
        assert not caller.refused
        assert {status for status, _ in caller.answers} == {200}


def test_a_request_in_flight_at_sigterm_is_answered(flights_store: Path, tmp_path: Path) -> None:
    body = json.dumps(FLIGHT).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with serving(*options(flights_store), cwd=tmp_path) as server:
        with socket.create_connection(_address(server)) as caller:
            caller.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:10])
            wait_until(lambda: metrics(server)["trivet_in_flight"] == 2)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.get("/health/ready")[0] != 200)
            caller.sendall(body[10:])
            answer = caller.recv(100_000)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer
        assert server.process.wait(30) == 0


def test_kill_9_of_a_worker_loses_what_it_held_and_no_more(
    flights_store: Path, tmp_path: Path
) -> None:
    lost_at: list[int] = []

    def call(caller: Caller) -> bool:
        if caller.post(FLIGHT) is None:
            lost_at.append(len(caller.answers))
        return True

    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        with calling(server.url, 8, call) as callers:
            wait_until(lambda: all(len(caller.answers) > 50 for caller in callers))
            before = workers_of(server.process.pid)
            os.kill(before[0], signal.SIGKILL)
            wait_until(lambda: len(set(workers_of(server.process.pid)) - set(before)) == 1)
            counts = [len(caller.answers) for caller in callers]
            wait_until(
                lambda: all(
                    len(caller.answers) > count + 50
                    for caller, count in zip(callers, counts, strict=True)
                )
            )
        wait_until(lambda: ready_workers(server) == 2)
    # A caller has one request in flight: it may lose that one, and its connection.
    assert all(len(caller.lost) <= 1 and not caller.refused for caller in callers)
    assert len(lost_at) <= 8
    assert {status for caller in callers for status, _ in caller.answers} == {200}


def test_a_worker_that_dies_while_it_is_waited_for_is_replaced_at_once(
    flights_store: Path, tmp_path: Path
) -> None:
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: len(workers_of(server.process.pid)) == 2)
        before = workers_of(server.process.pid)
        os.kill(before[0], signal.SIGSTOP)
        time.sleep(1)  # it is asked every 0.5 s whether it lives, and may take 60 s to say so
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(workers_of(server.process.pid)) - set(before)) == 1, 30)


def test_workers_are_replaced_when_the_process_that_forks_them_is_killed(
    flights_store: Path, tmp_path: Path
) -> None:
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        before = workers_of(server.process.pid)
        (forks,) = fork_servers(server.process.pid)
        os.kill(forks, signal.SIGKILL)
        wait_until(lambda: not any(map(command, before)))
        wait_until(lambda: len(workers_of(server.process.pid)) == 2)
        wait_until(lambda: ready_workers(server) == 2)
        assert server.post("/predict", FLIGHT)[0] == 200


def test_a_worker_that_waits_for_a_model_ends_when_its_parent_is_killed(
    flights: Artifact, flights_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "models"
    shutil.copytree(flights_store, store)
    with serving(*options(store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        (store / "flights" / flights.manifest.version / "golden.json").unlink()
        before = workers_of(server.process.pid)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(workers_of(server.process.pid)) - set(before)) == 1)
        (waiting,) = set(workers_of(server.process.pid)) - set(before)
        wait_until(lambda: any("golden.json" in line["message"] for line in server.logs()))
        try:
            server.process.kill()
            wait_until(lambda: not command(waiting))
        finally:
            if command(waiting):
                os.kill(waiting, signal.SIGKILL)


def test_a_fork_that_fails_is_said_and_tried_again(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_THIRD_FORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        os.kill(workers_of(server.process.pid)[0], signal.SIGKILL)
        wait_until(lambda: any("no worker can be" in line["message"] for line in server.logs()))
        wait_until(lambda: len(workers_of(server.process.pid)) == 2)
        wait_until(lambda: ready_workers(server) == 2)
        assert server.post("/predict", FLIGHT)[0] == 200


def test_workers_end_when_their_parent_is_killed(flights_store: Path, tmp_path: Path) -> None:
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: len(workers_of(server.process.pid)) == 2)
        workers = workers_of(server.process.pid)
        try:
            server.process.kill()
            wait_until(lambda: not any(map(command, workers)))
        finally:
            for worker in filter(command, workers):
                os.kill(worker, signal.SIGKILL)


def test_the_process_for_large_bodies_ends_when_its_worker_does(
    flights_store: Path, tmp_path: Path
) -> None:
    for end in (signal.SIGTERM, signal.SIGKILL):
        with serving(*options(flights_store), cwd=tmp_path) as server:
            assert server.post("/predict", MANY)[0] == 200
            (process,) = other_processes(server.process.pid)
            server.process.send_signal(end)
            wait_until(lambda: not command(process))  # noqa: B023 - called here


def test_a_directory_of_metrics_that_was_inherited_is_left_alone(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited = tmp_path / "inherited"
    inherited.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(inherited))
    with serving(*options(flights_store), cwd=tmp_path) as server:
        assert server.post("/predict", FLIGHT)[0] == 200
        assert metrics(server)["trivet_rows_total"] == 1
        assert not list(inherited.iterdir())
    assert server.process.returncode == 0


def test_a_disk_that_fills_up_under_the_metrics_ends_no_worker(
    flights_store: Path, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk))
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        before = workers_of(server.process.pid)
        _fill(small_disk)
        statuses = {path: server.get(path)[0] for path in EVERY_ROUTE * 4}
        assert set(statuses.values()) == {200}, statuses
        assert workers_of(server.process.pid) == before


def test_a_worker_without_room_for_its_metrics_answers(
    flights_store: Path, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk))
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        _fill(small_disk)
        for worker in workers_of(server.process.pid):
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: server.get("/health/ready")[0] == 200)
        assert server.post("/predict", FLIGHT)[0] == 200
        assert server.get("/metrics")[0] == 200
        assert any("no room" in line["message"] for line in server.logs())


def _fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


def test_memory_is_flat_over_200_000_requests(flights_store: Path, tmp_path: Path) -> None:
    body = json.dumps(FLIGHT).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    with serving(*options(flights_store), cwd=tmp_path) as server:
        _pipeline(server, request, 20_000)
        before = _resident(server.process.pid)
        _pipeline(server, request, 200_000)
        after = _resident(server.process.pid)
        counted = metrics(server)['trivet_requests_total{route="/predict",status="200"}']
    assert counted == 220_000
    assert after - before < 3_000, f"{before} kB, then {after} kB"


def test_memory_is_flat_over_100_large_bodies(flights_store: Path, tmp_path: Path) -> None:
    body = json.dumps({"instances": [FLIGHT] * 10_000}).encode()
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )
    with serving(*options(flights_store), cwd=tmp_path) as server:
        _pipeline(server, request, 20, 1)
        processes = {server.process.pid, *other_processes(server.process.pid)}
        assert len(processes) == 2
        before = {process: _resident(process) for process in processes}
        _pipeline(server, request, 100, 1)
        grown = [_resident(process) - before[process] for process in processes]
    assert max(grown) < 10_000, f"{before} kB, then {grown} kB more"


def _pipeline(server: Server, request: bytes, count: int, together: int = 100) -> None:
    """Send requests on one connection, many without waiting; all must be answered with 200."""
    with (
        socket.create_connection(_address(server), timeout=60) as caller,
        caller.makefile("rb") as answers,
    ):
        for _ in range(count // together):
            caller.sendall(request * together)
            for _ in range(together):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                head = b"".join(iter(answers.readline, b"\r\n"))
                (length,) = re.findall(rb"content-length: (\d+)", head)
                answers.read(int(length))


def _resident(process: int) -> int:
    """Resident memory in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def _address(server: Server) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)
