"""Callers of a service, many at once, each of which keeps what came of every request."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Caller:
    """One caller: a connection that it keeps open while it may, and what it was answered."""

    url: str
    answers: list[tuple[int, Any]] = field(default_factory=list)
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)

    def close(self) -> None:
        """Close the connection, if it is open."""
        self._connection.close()

    def post(self, body: object, path: str = "/predict") -> tuple[int, Any] | None:
        """Ask; None where the request was lost or could not be sent at all."""
        try:
            self._connection.connect() if self._connection.sock is None else None
        except ConnectionRefusedError:
            self.refused += 1
            return None
        try:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", path, json.dumps(body), headers)
            response = self._connection.getresponse()
            answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            self._connection.close()
            return None
        self.closed = response.getheader("connection") == "close"
        self.answers.append(answer)
        return answer


@contextmanager
def calling(url: str, count: int, call: Callable[[Caller], bool]) -> Iterator[list[Caller]]:
    """Let callers do ``call`` over and over in threads, until it says False or the block ends."""
    stop = threading.Event()
    callers = [Caller(url) for _ in range(count)]

    def run(caller: Caller) -> None:
        while not stop.is_set() and call(caller):
            pass
        caller.close()

    threads = [threading.Thread(target=run, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield callers
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
