"""Signals, workers that hang, and what a worker does when the system has no more to give."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import TRIVET, Server, free_port, serving, wait_until
from tests.online.asking import FLIGHT
from tests.online.processes import workers_of
from tests.online.test_faults import options, ready_workers
from trivet.errors import SettingsError
from trivet.online import server as of_server
from trivet.online.server import _directory_for_metrics

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


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1])
def test_a_worker_that_hangs_is_killed_and_replaced(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    # The one signal stops all threads, the other holds up that of the event loop.
    held_up = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))\n"
    (tmp_path / "sitecustomize.py").write_text(held_up)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    some = options(flights_store, "--workers", "2", "--hang-timeout", "1")
    with serving(*some, cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        before = workers_of(server.process.pid)
        os.kill(before[0], number)
        wait_until(lambda: _replaced(server, before), 30)
        lines = [line["message"] for line in server.logs() if line["level"] == "error"]
    assert any(line.startswith(f"worker {before[0]} hung for") for line in lines)


def test_workers_that_stood_still_with_their_parent_are_not_replaced(
    flights_store: Path, tmp_path: Path
) -> None:
    some = options(flights_store, "--workers", "2", "--hang-timeout", "1")
    with serving(*some, cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == 2)
        before = workers_of(server.process.pid)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in (server.process.pid, *before):  # the parent is the first to go on
                os.kill(pid, number)
                time.sleep(0.05)
            time.sleep(2)
        assert workers_of(server.process.pid) == before


def test_a_worker_without_file_descriptors_says_so_and_goes_on(
    flights_store: Path, tmp_path: Path
) -> None:
    with serving(*options(flights_store), cwd=tmp_path) as server, ExitStack() as waiting:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        host, _, port = server.url.removeprefix("http://").partition(":")
        for _ in range(70):
            waiting.enter_context(socket.create_connection((host, int(port))))
        wait_until(lambda: any("more than 64" in line["message"] for line in server.logs()))
        waiting.close()
        wait_until(lambda: server.get("/health/ready")[0] == 200)
        assert server.post("/predict", FLIGHT)[0] == 200
        said = [line for line in server.logs() if "file descriptor" in line["message"]]
    assert [line["level"] for line in said] == ["error"]


def test_workers_share_metrics_in_memory_if_there_is_no_place_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with _directory_for_metrics() as directory:
        assert directory.startswith(of_server.SHARED_MEMORY)
    monkeypatch.setattr(of_server, "SHARED_MEMORY", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="mount one"):
        _directory_for_metrics()


def _replaced(server: Server, before: list[int]) -> bool:
    now = workers_of(server.process.pid)
    return len(now) == len(before) and before[0] not in now
