"""What a container may do, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.conftest import NOVEMBER, wait_until
from tests.docker.conftest import FLIGHT, LEGS, Project, docker, inspect
from trivet.model.store import ModelStore

TMP = "/tmp"  # noqa: S108 - the container's own
POOLS = """
from trivet.cpus import cpu_limit, limit_threads
limit_threads(cpu_limit())
import pyarrow, scipy.linalg, sklearn.ensemble, threadpoolctl
print(pyarrow.cpu_count(), *(pool["num_threads"] for pool in threadpoolctl.threadpool_info()))
"""


@pytest.mark.parametrize("leg", LEGS)
def test_a_leg_has_no_rights_to_speak_of(leg: str, trained: Project) -> None:
    status = trained.in_container(leg, "id -u; grep -E 'Cap|NoNewPrivs' /proc/self/status")
    uid, *lines = status.splitlines()[-7:]
    assert uid == "1000"
    rights = {name: int(value, 16) for name, value in (line.split(":") for line in lines)}
    assert rights.pop("NoNewPrivs") == 1
    assert len(rights) == 5
    assert not any(rights.values())


@pytest.mark.parametrize("leg", LEGS)
def test_a_leg_writes_only_where_it_must(leg: str, trained: Project) -> None:
    places = ("/", "/app", "/venv", "/app/data", "/app/models", "/app/data/predictions", TMP)
    tries = "; ".join(
        f"touch {place}/x 2>/dev/null && echo {place} && rm {place}/x" for place in places
    )
    allowed = {"train": ["/app/models"], "batch": ["/app/data/predictions"], "online": []}[leg]
    assert trained.in_container(leg, tries + "; true").splitlines()[-len(allowed) - 1 :] == [
        *allowed,
        TMP,
    ]


def test_the_limits_are_those_of_the_settings(trained: Project) -> None:
    trained.compose("create", "online", MEMORY_LIMIT="321m", CPU_LIMIT="0.75")
    host = inspect(trained.container("online"))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (321 * 2**20, 321 * 2**20)
    assert host["NanoCpus"] == 750_000_000
    assert host["PidsLimit"] == 256
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("cpus", [1, 2])
def test_workers_and_threads_follow_the_cpu_limit(cpus: int, trained: Project) -> None:
    if cpus > (os.cpu_count() or 1):
        pytest.skip("this machine has one processor")
    python = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "python", "train", "-c", POOLS)
    pools = trained.compose(*python, CPU_LIMIT=str(cpus)).splitlines()[-1]
    assert set(pools.split()) == {str(cpus)}

    trained.compose("up", "--detach", "--wait", "online", CPU_LIMIT=str(cpus))
    started = docker("logs", trained.container("online")).count("Started server process")
    trained.compose("rm", "--stop", "--force", "online")
    assert started == cpus


def test_sigterm_loses_no_request_and_ends_with_0(serving: Project) -> None:
    name = serving.container("online")
    address = next(iter(inspect(name)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    record = json.loads(FLIGHT)
    body = json.dumps({"instances": [record] * 2000}).encode()
    begun_before, answered = [], []
    stopping = threading.Event()

    def ask() -> None:
        with closing(http.client.HTTPConnection(address, 8000, timeout=30)) as connection:
            while not stopping.is_set():
                begun_before.append(1)
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answered.append(len(json.load(connection.getresponse())["predictions"]))

    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask) for _ in range(4)]
        wait_until(lambda: len(answered) > 8)
        stopping.set()  # what is under way now was begun before the signal
        begun = time.monotonic()
        docker("kill", "--signal", "TERM", name)
        for client in asked:
            client.result()
    wait_until(lambda: inspect(name)["State"]["Status"] == "exited")
    assert answered == [2000] * len(begun_before)
    assert inspect(name)["State"]["ExitCode"] == 0
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_a_training_that_is_killed_leaves_whole_models(seconds: float, trained: Project) -> None:
    store = ModelStore(trained.folder / "models")
    before = store.current("flights")
    assert before
    name = f"{trained.name}-killed"
    trained.compose("run", "--detach", "--no-deps", "--name", name, "train", "--force")
    time.sleep(seconds)
    docker("kill", "--signal", "KILL", name, check=False)  # it may have ended by itself
    docker("wait", name)
    ended = inspect(name)["State"]["ExitCode"]
    docker("rm", name)

    assert ended in (0, 137)
    for version in store.versions("flights"):
        store.artifact("flights", version).verify_files()
    pointer = store.current("flights")
    assert pointer
    assert pointer.version in store.versions("flights")
    assert pointer == before or pointer.history[-1] == before.version
    assert "up to date" in trained.compose("run", "--rm", "train")


def test_a_training_out_of_memory_ends_with_137_and_publishes_nothing(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    train = project.run("docker", "compose", "run", "--rm", "train", MEMORY_LIMIT="100m")
    assert train.returncode == 137
    assert ModelStore(project.folder / "models").names() == []
    assert "published" in project.compose("run", "--rm", "train", MEMORY_LIMIT="600m")


def test_a_batch_out_of_memory_ends_with_137_and_keeps_the_predictions_of_before(
    trained: Project,
) -> None:
    output = trained.folder / "data/predictions/flights_november.csv"
    trained.compose("run", "--rm", "batch")
    before = output.read_bytes()
    batch = trained.run(
        "docker", "compose", "run", "--rm", "--no-deps", "batch", MEMORY_LIMIT="60m"
    )
    assert batch.returncode == 137
    assert output.read_bytes() == before


def test_300_megabytes_serve_and_predict_the_flights(trained: Project) -> None:
    trained.compose("up", "--detach", "--wait", "online", MEMORY_LIMIT="300m")
    body = json.dumps({"instances": [json.loads(FLIGHT)] * 1000}).encode()
    for _ in range(20):
        assert len(trained.predict(body)["predictions"]) == 1000
    assert not inspect(trained.container("online"))["State"]["OOMKilled"]
    trained.compose("rm", "--stop", "--force", "online")
    trained.compose("run", "--rm", "--no-deps", "batch", MEMORY_LIMIT="300m")


def test_300_megabytes_predict_a_table_of_any_size(trained: Project) -> None:
    header, rows = NOVEMBER.read_bytes().split(b"\n", 1)
    large = trained.folder / "data/large.csv"
    large.write_bytes(header + b"\n" + rows * 200)
    output = trained.folder / "data/predictions/large.csv"
    options = ("--input", "data/large.csv", "--output", "data/predictions/large.csv")
    trained.compose("run", "--rm", "--no-deps", "batch", *options, MEMORY_LIMIT="300m")
    assert output.read_bytes().count(b"\n") == 1 + 200 * rows.count(b"\n")
