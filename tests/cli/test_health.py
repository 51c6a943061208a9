"""`trivet health`: an exit code, and one line that says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, free_port, run_trivet, serving, wait_until
from tests.test_floors import SCIENCE, WEB, loaded, run_main


@pytest.fixture(scope="module")
def server(flights_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path_factory.mktemp("health")) as server:
        yield server


def test_a_service_that_is_ready_is_0_wherever_its_port_is_set(
    server: Server, tmp_path: Path
) -> None:
    port = server.url.rpartition(":")[2]
    for name in ("TRIVET_SERVE_PORT", "AIP_HTTP_PORT", "TRIVET_HEALTH_PORT"):
        assert run_trivet("health", cwd=tmp_path, **{name: port}).returncode == 0
    assert run_trivet("health", "--port", port, cwd=tmp_path).returncode == 0
    (tmp_path / "trivet.toml").write_text(f'[serve]\nport = {port}\nhost = "0.0.0.0"')
    done = run_trivet("health", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run_trivet("health", "--port", "1", cwd=tmp_path).returncode == 1


def test_no_answer_is_1_and_one_line(tmp_path: Path) -> None:
    port = free_port()
    done = run_trivet("health", cwd=tmp_path, TRIVET_SERVE_PORT=str(port))
    assert done.returncode == 1
    assert f"no answer from 127.0.0.1:{port}: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("host", ["two\nlines", "x" * 70, "\u00e9" * 70])
def test_a_host_that_is_none_is_1_and_no_traceback(tmp_path: Path, host: str) -> None:
    done = run_trivet("health", "--host", host, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: no answer from ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_service_that_is_not_ready_is_1_and_one_line(flights_store: Path, tmp_path: Path) -> None:
    options = ["--model", "flights", "--models-dir", str(flights_store), "--drain", "3"]
    options += ["--root-path", "/flights"]
    with serving(*options, cwd=tmp_path) as server:
        port = server.url.rpartition(":")[2]
        assert run_trivet("health", "--port", port, cwd=tmp_path).returncode == 0
        server.process.terminate()
        wait_until(lambda: server.get("/health/ready")[0] == 503)
        done = run_trivet("health", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert "answered 503: " in done.stderr
    assert "told to stop" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_health_loads_no_leg(server: Server) -> None:
    modules = loaded(run_main("health", "--port", server.url.rpartition(":")[2]))
    assert not modules & (WEB | SCIENCE | {"orjson", "uvloop"})
