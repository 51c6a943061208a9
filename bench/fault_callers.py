"""Callers on raw sockets, many at once, that check every answer and count what is lost."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from fault_requests import Request

HOST = "127.0.0.1"


class LostError(Exception):
    """A connection that brought no answer, or none that is whole."""


def read_answer(answers: IO[bytes]) -> tuple[int, bool, bytes]:
    """Status, whether the service closes the connection, and content of the next answer."""
    start = answers.readline()
    if not start.endswith(b"\r\n"):
        raise LostError("the connection was closed")
    length, closes = 0, False
    while (line := answers.readline()) != b"\r\n":
        name, found, value = line.rstrip().lower().partition(b": ")
        if not found:
            raise LostError("the head was cut short")
        if name == b"content-length":
            length = int(value)
        closes |= (name, value) == (b"connection", b"close")
    content = answers.read(length)
    if len(content) < length:
        raise LostError("the content was cut short")
    return int(start.split()[1]), closes, content


class Callers:
    """Threads that send requests, up to ``together`` on a connection before they read the answers.

    An answer may take ``patience`` seconds. ``longest`` is the longest that one batch took.
    """

    def __init__(
        self, port: int, requests: Iterable[Request], threads: int, together: int, patience: float
    ) -> None:
        self._port, self._together, self._patience = port, together, patience
        self._requests, self._lock = iter(requests), threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]
        self.answered: Counter[str] = Counter()
        self.lost: list[str] = []
        self.wrong: list[str] = []
        self.longest = 0.0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        self.wait()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    @property
    def count(self) -> int:
        """How many requests were answered."""
        return self.answered.total()

    def _call(self) -> None:
        connection: _Connection | None = None
        while not self._over.is_set() and (batch := self._next()):
            begun = time.monotonic()
            unanswered = iter(batch)
            request = batch[0]
            try:
                connection = connection or _Connection(self._port, self._patience)
                connection.socket.sendall(b"".join(each.sent for each in batch))
                for request in unanswered:
                    status, closes, content = read_answer(connection.answers)
                    self._check(request, status, closes, content)
                    if closes:
                        connection = connection.close()
                        break
            except (OSError, LostError) as error:
                connection = connection and connection.close()
                self._lose(request, repr(error))
            for request in unanswered:
                self._lose(request, "an answer before it closed the connection")
            self.longest = max(self.longest, time.monotonic() - begun)
        if connection:
            connection.close()

    def _next(self) -> list[Request]:
        batch: list[Request] = []
        with self._lock:
            for request in itertools.islice(self._requests, self._together):
                batch.append(request)
                if request.closes:
                    break
        return batch

    def _check(self, request: Request, status: int, closes: bool, content: bytes) -> None:
        wrong = f"status {status}" if status != request.status else request.check(content)
        if request.closes and not closes:
            wrong = wrong or "the connection stays open"
        with self._lock:
            self.answered[request.kind] += 1
            if wrong:
                self.wrong.append(f"{request.kind}: {wrong}: {content[:200]!r}")

    def _lose(self, request: Request, why: str) -> None:
        with self._lock:
            self.lost.append(f"{request.kind}: {why}")


class _Connection:
    def __init__(self, port: int, patience: float) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=patience)
        self.answers = self.socket.makefile("rb")

    def close(self) -> None:
        self.answers.close()
        self.socket.close()


@contextmanager
def calling(
    port: int, requests: Sequence[Request], threads: int = 4, patience: float = 10
) -> Iterator[Callers]:
    """Callers that ask one request at a time, over and over, until the block ends."""
    callers = Callers(port, itertools.cycle(requests), threads, 1, patience)
    callers.start()
    try:
        yield callers
    finally:
        callers.stop()
