"""The process, or processes: uvicorn runs the app in one worker or in several.

The process that starts several workers imports neither the app nor FastAPI.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from typing import Any, Literal, cast

import uvicorn
from uvicorn._subprocess import subprocess_started
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from trivet.cpus import worker_count
from trivet.errors import SettingsError
from trivet.model.store import ModelStore
from trivet.online import heartbeat, metrics
from trivet.online.keys import Keys
from trivet.online.logs import logging_config
from trivet.online.settings import ListenSettings

logger = logging.getLogger("trivet.online")

#: Forks workers from a process that has imported what they need, and has no threads: this one has.
FORK_SERVER = multiprocessing.get_context("forkserver")
LOOPBACK = ("127.0.0.1", "::1")
#: Seconds that requests in flight may take once the service stops listening.
GRACE = 20
#: Where files live in memory.
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only for a directory of a random name


def serve(settings: ListenSettings) -> None:
    """Serve until SIGTERM or SIGINT, finish the requests in flight, and exit with code 0.

    Raises `StoreError`, `ArtifactError` or `SettingsError` before it listens if there is no model
    to serve or a setting can't be used.
    """
    store = ModelStore(settings.models_dir, settings.trust)
    store.artifact(settings.model, settings.model_version).verify()
    workers, keys = worker_count(settings.workers), Keys(settings)
    if settings.tls_cert:
        tls_context(settings)
    config = _Config(settings, keys, workers)
    # uvicorn raises the signal again once all requests are finished: that is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with _listen(settings.host, settings.port) as listener:
        if not keys and listener.getsockname()[0] not in LOOPBACK:
            logger.warning(
                "open to anyone who reaches %s; require keys with --api-key-file", settings.host
            )
        port = listener.getsockname()[1]  # chosen by the system if it was 0
        scheme = "https" if settings.tls_cert else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        logger.info("listening on %s://%s:%d, documentation at /docs", scheme, host, port)
        # An inherited directory is another service's: this one needs its own.
        if workers == 1 and metrics.DIRECTORY not in os.environ:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            with _directory_for_metrics() as directory:
                metrics.share(directory)
                _Supervisor(config, listener, keys, settings.hang_timeout).run()


class _Config(uvicorn.Config):
    """What a worker runs; it loads that itself."""

    def __init__(self, settings: ListenSettings, keys: Keys, workers: int) -> None:
        self._settings = settings
        super().__init__(
            partial(_app, settings, keys),
            factory=True,
            workers=workers,
            server_header=False,
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=GRACE,
            log_config=logging_config(settings.log_level),
            ssl_context_factory=partial(tls_context, settings) if settings.tls_cert else None,
        )

    def load(self) -> None:
        """Import the app and the protocol."""
        self.http = _connection(self._settings)
        super().load()


def _app(settings: ListenSettings, keys: Keys) -> Any:
    from trivet.online.app import create_app

    return create_app(settings, keys)


def _connection(settings: ListenSettings) -> Literal["httptools"] | type[asyncio.Protocol]:
    """What parses and answers on a connection: `trivet.online.wire`, or uvicorn alone."""
    try:
        from trivet.online.wire import Connection
    except ImportError as error:
        logger.warning(
            "uvicorn %s is not one that the fast path knows (%s): requests are answered, but "
            "slower, and heads and idle connections have no limits; requirements.txt names one "
            "that it knows",
            uvicorn.__version__,
            error,
        )
        return "httptools"
    return cast(type[asyncio.Protocol], partial(Connection, settings))


def tls_context(settings: ListenSettings, *_: object) -> ssl.SSLContext:
    """What uvicorn needs for HTTPS; raises `SettingsError` for files that can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    cert, key = str(settings.tls_cert), str(settings.tls_key)
    try:
        context.load_cert_chain(cert, key, password=str)  # none: nobody is there to be asked
    except OSError as error:  # an SSLError is one
        raise SettingsError(
            f"{cert}, {key}: can't be used ({error.strerror}); --tls-cert is a certificate with "
            "its chain and --tls-key its private key without a passphrase, both in PEM"
        ) from error
    return context


class _Worker(Process):
    """A worker that shares the memory of what was imported before it was forked."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)  # whose own process, never started, is left to itself
        arguments = {"config": config, "target": self.target, "sockets": sockets}
        self.process = FORK_SERVER.Process(  # type: ignore[assignment] # uvicorn's is spawned
            target=subprocess_started, kwargs={**arguments, "stdin_fileno": None}
        )


class _Supervisor(Multiprocess):
    """Starts the workers, and replaces those that end or hang."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, keys: Keys, hang_timeout: float
    ) -> None:
        on_hangup = signal.getsignal(signal.SIGHUP)
        super().__init__(config, sockets=[listener])
        if on_hangup == signal.SIG_IGN:  # as after nohup
            signal.signal(signal.SIGHUP, on_hangup)
        self._hang_timeout, self._keys = hang_timeout, keys
        #: When it last looked at the workers, and since when it has looked without a long break.
        self._looked = self._watched_since = time.monotonic()

    def init_processes(self) -> None:
        """Start the workers."""
        if os.access(SHARED_MEMORY, os.W_OK):
            # The fork server's socket goes there, as the path to other directories may be too long.
            tempfile.tempdir = SHARED_MEMORY
        FORK_SERVER.set_forkserver_preload(["trivet.online.app", "trivet.online.wire"])
        for _ in range(self.processes_num):
            if (worker := self._start()) is None:
                raise SettingsError(
                    "no worker can be started; use fewer --workers, or find out why"
                )
            self.processes.append(worker)

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have ended, and those whose event loop stands still.

        uvicorn's own way waits for each worker in turn, and asks one of its other threads.
        """
        if self.should_exit.is_set():
            return
        self._keys.catch_up()  # a new worker begins with those of this process
        watched = self._watched()
        for position, worker in enumerate(self.processes):
            pid = worker.pid or 0
            if (silent := min(heartbeat.silence(pid), watched)) > self._hang_timeout:
                logger.error("worker %d hung for %.0f s, so it is killed and replaced", pid, silent)
                worker.process.kill()
                worker.join()
            if worker.process.is_alive():
                continue
            if worker.exitcode == STARTUP_FAILURE:
                logger.error("worker %d could not start, so the service stops", pid)
                self.should_exit.set()
                return
            logger.warning("worker %d ended with code %s and is replaced", pid, worker.exitcode)
            self.processes[position] = self._start() or worker  # or again, the next time

    def _start(self) -> Process | None:
        """A new worker, or none if the system has no room for it."""
        worker = _Worker(self.config, self.sockets)
        try:
            worker.start()
        except (OSError, EOFError) as error:  # EOF: the fork server has found no room, and ended
            logger.error("no worker can be started: %s", str(error) or "out of processes or memory")
            return None
        return worker

    def _watched(self) -> float:
        """Seconds without a break of its own, in which the workers may have stood still, too.

        As after ``docker pause``: they are as healthy as before.
        """
        now = time.monotonic()
        if now - self._looked > (1 + self._hang_timeout) / 2:
            self._watched_since = now
        self._looked = now
        return now - self._watched_since

    def handle_hup(self) -> None:
        """Stop, unless there is a file of keys: every process reads that again by itself."""
        if self._keys.path is None:
            self.handle_term()


def _directory_for_metrics() -> tempfile.TemporaryDirectory[str]:
    """An empty directory, in memory if there is no writable one for temporary files."""
    for parent in (None, SHARED_MEMORY):
        with suppress(OSError):
            return tempfile.TemporaryDirectory(prefix="trivet-", dir=parent)
    raise SettingsError(
        f"several workers share their metrics in a directory, but neither /tmp nor {SHARED_MEMORY} "
        "can be written to; mount one (docker run --tmpfs /tmp), or use --workers 1"
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # Python repeats the address in brackets
        raise SettingsError(
            f"can't listen on {host}:{port} ({why}); choose another --port or --host"
        ) from error
    # Otherwise the kernel may hold back half of an answer until the other is acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
