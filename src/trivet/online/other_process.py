"""A second process of a worker: what it does holds nothing up in the first, not even the GIL."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from subprocess import Popen
from threading import Timer
from typing import Any, TypeVar

from trivet.errors import TrivetError
from trivet.online.live_model import unavailable
from trivet.online.problems import ProblemError

logger = logging.getLogger("trivet.online")

T = TypeVar("T")
#: What tells a worker to stop. It first finishes its requests, so the process leaves these waiting.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: How much the process gives way to its worker, if they share a core: it then gets a fifth of it.
NICENESS = 5


class OtherProcess:
    """Calls functions one by one in a process, which the first call starts, or the next if it died.

    It is not forked, so it holds nothing of the worker's. `multiprocessing` does not start it, or
    the script that called `trivet.serve` would run again. It ends when the worker does, or when a
    call takes longer than ``patience`` seconds: the next calls would wait for ever.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: Popen[bytes] | None = None
        self._connection: Connection

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """What a function of a module gives for arguments that can be pickled.

        Raises what it raises, or a 503 problem if the process dies meanwhile.
        """
        if self._process is None or self._process.poll() is not None:
            try:
                self._process = self._start()
            except OSError as error:  # no descriptor, no memory
                logger.error("the process for large bodies can't be started: %s", error)
                raise unavailable("no process can be started for this body; try later") from None
        too_long = Timer(self._patience, self._process.kill)
        too_long.start()
        try:
            self._connection.send((function, arguments))
            outcome: T | Exception = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            code = self._process and self._process.returncode  # -9: killed, maybe for its memory
            logger.error(
                "the process for large bodies ended with %s; the next starts another", code
            )
            raise unavailable("the process that read this body died; try again later") from None
        finally:
            too_long.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._connection.close()

    def _start(self) -> Popen[bytes]:
        self._connection, theirs = Pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # from its first moment on
        try:
            with theirs:
                return Popen(  # noqa: S603 - nothing in it is from a request
                    [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def main(connection: Connection) -> None:
    """Call what the worker sends, until it has ended."""
    os.nice(NICENESS)
    try:
        while True:
            connection.send(_outcome(*connection.recv()))
    except (EOFError, OSError):
        return


def _outcome(function: Callable[..., Any], arguments: tuple[object, ...]) -> object:
    try:
        return function(*arguments)
    except (ProblemError, TrivetError) as error:
        return error
    except Exception:  # others may not be picklable
        return RuntimeError(traceback.format_exc())


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
