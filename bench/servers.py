"""The servers of `bench/online.py`: started, asked, put under load, measured and stopped."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contestants import CACHE, CLIENT_CORE, ROOT, Contestant
from processes import FailedError, last_words, memory, stop

HOST = "127.0.0.1"
READY_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests per second, and percentiles of the latency in milliseconds."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Server:
    """A running server, and the file that it writes its output to."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, body: Path) -> bytes:
        """The answer to one request; raises `FailedError` for any status but 200."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=READY_SECONDS)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, body.read_bytes(), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise FailedError(f"status {answer.status}: {content[:200]!r}")
        return content

    def first_answer(self, path: str, body: Path) -> bytes:
        """The first answer with status 200; asks until it comes."""
        deadline = time.perf_counter() + READY_SECONDS
        while True:
            try:
                return self.ask(path, body)
            except (OSError, http.client.HTTPException, FailedError) as error:
                if self.process.poll() is not None:
                    raise FailedError(f"it ended: {last_words(self.log)}") from None
                if time.perf_counter() > deadline:
                    raise FailedError(f"not ready: {error}; {last_words(self.log)}") from None
            time.sleep(0.005)

    def load(self, path: str, body: Path, connections: int, seconds: int) -> Load:
        """Send requests for some seconds; raises `FailedError` if any of them fails."""
        wrk = f"taskset -c {CLIENT_CORE} wrk -t1 -c{connections} -d{seconds}s --timeout 30s -s"
        done = subprocess.run(
            [*wrk.split(), str(ROOT / "bench/post.lua"), f"http://{HOST}:{self.port}{path}"],
            env={**os.environ, "BODY": str(body)},
            capture_output=True,
            text=True,
            check=True,
        )
        seen = json.loads(done.stdout.splitlines()[-1])
        if seen["failed"] or not seen["requests"]:
            raise FailedError(f"{seen['failed']} of {seen['requests']} requests failed")
        return Load(seen["requests"] / seen["seconds"], seen["p50"], seen["p99"])

    def memory(self) -> tuple[float, float]:
        """Megabytes of the process and all its descendants: PSS, and RSS."""
        return memory(self.process.pid)


@contextmanager
def serving(contestant: Contestant, model: Path) -> Iterator[Server]:
    """Start a server on free ports and its own cores; at the end, stop it and its descendants."""
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
    log = CACHE / "logs" / f"{contestant.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", contestant.cores, *contestant.arguments(*ports)],
            env=contestant.variables(model, *ports),
            cwd=CACHE if contestant.environment else ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Server(process, ports[0], log)
    finally:
        stop(process)
