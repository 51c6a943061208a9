"""Signals, to a service and to its workers."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TRIVET, Server, free_port, serving, wait_until
from tests.online.asking import FLIGHT
from tests.online.test_faults import options, ready_workers, workers_of

pytestmark = pytest.mark.slow

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_lets_the_service_answer_for_a_while(
    flights_store: Path, tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    some = options(flights_store, "--drain", "4", "--workers", workers)
    with serving(*some, cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == int(workers))
        server.process.send_signal(number)
        wait_until(lambda: server.get("/health/ready")[0] == 503)
        assert server.post("/predict", FLIGHT)[0] == 200
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("number", STOPS)
def test_a_worker_that_is_told_to_stop_is_replaced(
    flights_store: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with serving(*options(flights_store, "--workers", "2"), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        before = workers_of(server.process.pid)
        os.kill(before[0], number)
        wait_until(lambda: _replaced(server, before))
        wait_until(lambda: ready_workers(server) == 2)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_after_nohup_the_end_of_a_terminal_is_not_the_end(
    flights_store: Path, tmp_path: Path, workers: str
) -> None:
    port = free_port()
    command = ["nohup", str(TRIVET), "serve", *options(flights_store), "--drain", "0"]
    command += ["--port", str(port), "--workers", workers]
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=output)
        server = Server(f"http://127.0.0.1:{port}", process, output)
        try:
            wait_until(lambda: server.get("/health/ready")[0] == 200)
            for pid in (process.pid, *workers_of(process.pid)):
                os.kill(pid, signal.SIGHUP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            assert server.get("/health/ready")[0] == 200
        finally:
            process.terminate()
            process.wait(30)


def _replaced(server: Server, before: list[int]) -> bool:
    now = workers_of(server.process.pid)
    return len(now) == len(before) and before[0] not in now
