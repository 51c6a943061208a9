"""Real tables, real models, real servers: trained once a session, shared by the tests."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from moto.server import ThreadedMotoServer

from trivet.model import keys
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.online.app import create_app
from trivet.online.settings import ServeSettings
from trivet.rows import readers
from trivet.rows.arrays import Rows
from trivet.rows.columns import encode_columns
from trivet.rows.contract import Contract
from trivet.rows.readers.table import Wanted
from trivet.rows.sources import find_sources
from trivet.train.run import train
from trivet.train.settings import TrainSettings

ROOT = Path(__file__).parent.parent
TRIVET = Path(sys.executable).with_name("trivet")
FLIGHTS = TrainSettings(
    data=ROOT / "data/flights_train.csv",
    target="late",
    identifiers=("flight_id",),
    time_column="time_hour",
    model="flights",
)
NOVEMBER = ROOT / "data/flights_november.csv"
#: A pipeline with a transformer and an estimator of a user's own.
OWN_PIPELINE = ROOT / "tests/pipelines/own.py"


def trained(settings: TrainSettings) -> Artifact:
    """The version that these settings lead to."""
    version = train(settings).manifest.version
    return ModelStore(settings.models_dir).artifact(settings.model, version)


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The flights model, in a store of its own."""
    return trained(replace(FLIGHTS, models_dir=tmp_path_factory.mktemp("flights") / "models"))


@pytest.fixture(scope="session")
def flights_store(flights: Artifact) -> Path:
    return flights.path.parent.parent


@pytest.fixture(scope="session")
def two_versions(flights: Artifact, tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A store with two versions of the flights model, for tests that promote either."""
    store = ModelStore(tmp_path_factory.mktemp("two") / "models")
    shutil.copytree(flights.path.parent, store.root / "flights")
    train(replace(FLIGHTS, models_dir=store.root, seed=1, promote=False))
    assert len(store.versions("flights")) == 2
    return store


@pytest.fixture(scope="session")
def predictor(flights: Artifact) -> Predictor:
    return Predictor.load(flights)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key; the public one is beside it."""
    path = tmp_path_factory.mktemp("key") / "trivet.key"
    keys.generate(path)
    return path


@pytest.fixture(scope="session")
def uncompiled(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A model of a pipeline of a user's own, which has no compiled form."""
    models_dir = tmp_path_factory.mktemp("uncompiled") / "models"
    return trained(replace(FLIGHTS, models_dir=models_dir, pipeline=OWN_PIPELINE))


@pytest.fixture(scope="session")
def client(flights_store: Path) -> Iterator[TestClient]:
    """A client of the flights service, once it is ready."""
    with ready_client(ServeSettings("flights", models_dir=flights_store)) as client:
        yield client


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import s3fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().makedirs("flights", exist_ok=True)
    yield "s3://flights"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@contextmanager
def ready_client(settings: ServeSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        wait_until(lambda: client.get("/health/ready").status_code == 200)
        yield client


@dataclass
class Server:
    """A service in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def logs(self) -> list[dict[str, Any]]:
        """What the service has logged so far."""
        lines = Path(self.output.name).read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def listens(self) -> bool:
        """Whether the service has said where it listens, which is its URL from then on."""
        said = (re.match(r"listening on (\S+),", line["message"]) for line in self.logs())
        self.url = next((found[1] for found in said if found), "")
        return self.url != ""

    def get(self, path: str) -> tuple[int, bytes]:
        return self.ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: object) -> tuple[int, Any]:
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        status, content = self.ask(request)
        return status, json.loads(content)

    def ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""


@contextmanager
def serving(*options: str, cwd: Path, port_from: str = "TRIVET_SERVE_PORT") -> Iterator[Server]:
    """`trivet serve` on a port that the system chooses; ended by SIGTERM, or else by force.

    That it may choose is in the environment, under the name ``port_from``.
    """
    # Append: the process shares the position that `Server.logs` moves.
    output = tempfile.NamedTemporaryFile("ab")  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [TRIVET, "serve", "--drain", "0", *options],
        cwd=cwd,
        env={**os.environ, port_from: "0"},
        stdout=output,
        stderr=subprocess.PIPE,
    )
    server = Server("", process, output)
    try:
        wait_until(lambda: process.poll() is not None or server.listens())
        wait_until(lambda: process.poll() is not None or server.get("/health/ready")[0] == 200)
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()
        output.close()


def run_trivet(
    *options: str | Path, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, and keep what it prints."""
    return subprocess.run(
        [TRIVET, *options],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def copy_checkout(folder: Path) -> Path:
    """The project's own files, and none that runs and tools made, in a new folder."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing came of it in {seconds} s"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def encoded(path: str | Path, contract: Contract) -> Rows:
    """The rows of a file, (rows x features)."""
    [source] = find_sources(str(path), Path("unused"))
    file = readers.columns(source)
    wanted = Wanted({column.name: column.kind for column in contract.columns})
    chunks = readers.read(file, readers.whole(file), wanted)
    return np.concatenate([encode_columns(each.cells, contract, each.rows) for each in chunks])


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
