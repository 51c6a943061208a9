"""The service of `bench/faults.py`: started, watched from outside, and stopped."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contestants import CACHE, OWN
from fault_callers import HOST
from fault_requests import MODEL
from processes import FailedError, descendants, last_words, memory, stop

FOLDER = CACHE / "faults"
MODELS = FOLDER / "models"
TRIVET = OWN / "bin/trivet"
READY_SECONDS = 60


@dataclass
class Service:
    """A service in a process of its own; ``log`` is what it wrote, if that went to a file."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def inside(self) -> Path:
        """The root of the files that the service sees."""
        return Path(f"/proc/{self.process.pid}/root")

    def get(self, path: str, timeout: float = 5) -> bytes:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=timeout) as answer:
            return bytes(answer.read())

    def answers(self) -> bool:
        """Whether it says that it is ready."""
        try:
            self.get("/health/ready", timeout=1)
        except OSError:
            return False
        return True

    def ready_workers(self) -> int:
        """How many workers answer with a model; 0 if nobody says."""
        try:
            lines = self.get("/metrics", timeout=1).decode().splitlines()
        except OSError:
            return 0
        info = (line for line in lines if line.startswith("trivet_model_info{"))
        return int(sum(float(line.rpartition(" ")[2]) for line in info))

    def workers(self) -> list[int]:
        """The processes that answer where there are several: a fork server has forked them."""
        children = descendants(self.process.pid)[1:]
        forked = [pid for pid in children if b"forkserver" in command_of(pid)]
        return [pid for server in forked for pid in descendants(server)[1:] if pid in forked]

    def memory(self) -> tuple[float, float]:
        """Megabytes of the service and all its workers: PSS, and RSS."""
        return memory(self.process.pid)


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def running(
    *options: str, models: Path = MODELS, before: str = "", workers: int = 1
) -> Iterator[Service]:
    """Run the service, ready with all its workers; raises `FailedError` if it does not end well.

    ``before`` is what a shell does first, where it may mount what nobody else sees.
    """
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    log = FOLDER / "log"
    serve = [TRIVET, "serve", "--port", str(port), "--model", MODEL, "--models-dir", models]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "sh", "-c", f'{before}\nexec "$0" "$@"'),
                *map(str, serve),
                *("--workers", str(workers), *options),
            ],
            cwd=FOLDER,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(process, port, log)
    try:
        wait_for("all workers are ready", lambda: service.ready_workers() == workers, process)
        yield service
        if process.poll() is not None:
            raise FailedError(f"it ended: {last_words(log)}")
    finally:
        stop(process)
    if process.returncode:
        raise FailedError(f"it ended with {process.returncode}: {last_words(log)}")


def wait_for(
    what: str,
    condition: Callable[[], bool],
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = READY_SECONDS,
) -> float:
    """Seconds until a condition holds; raises `FailedError` if it does not in time."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() > begun + seconds:
            raise FailedError(f"{what}: not within {seconds:g} s")
        if process and process.poll() is not None:
            raise FailedError(f"{what}: it ended with {process.returncode}")
        time.sleep(0.02)
    return time.monotonic() - begun
