"""The process, or processes: uvicorn runs the app in one worker or in several."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from functools import partial
from typing import cast

import uvicorn
from uvicorn.supervisors import Multiprocess

from trivet.cpus import worker_count
from trivet.errors import SettingsError
from trivet.model.store import ModelStore
from trivet.online import metrics
from trivet.online.app import create_app
from trivet.online.logs import LOGGING
from trivet.online.settings import ListenSettings
from trivet.online.wire import Connection

logger = logging.getLogger("trivet.online")

LOOPBACK = ("127.0.0.1", "::1")
#: Seconds that requests in flight may take once the service stops listening.
GRACE = 20
#: Seconds that a worker may take to import what it needs before it counts as hung.
STARTING = 60


def serve(settings: ListenSettings) -> None:
    """Serve until SIGTERM or SIGINT, finish the requests in flight, and exit with code 0.

    Raises `StoreError`, `ArtifactError` or `SettingsError` before it listens if there is no model
    to serve or a setting can't be used.
    """
    store = ModelStore(settings.models_dir)
    store.artifact(settings.model, settings.model_version).verify()
    workers = worker_count(settings.workers)
    config = uvicorn.Config(
        partial(create_app, settings),
        factory=True,
        workers=workers,
        timeout_worker_healthcheck=STARTING,
        server_header=False,
        access_log=False,
        http=cast(type[asyncio.Protocol], partial(Connection, settings)),
        ws="none",
        timeout_graceful_shutdown=GRACE,
        log_config=LOGGING,
    )
    # uvicorn raises the signal again once all requests are finished: that is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with _listen(settings.host, settings.port) as listener:
        if not settings.api_keys and listener.getsockname()[0] not in LOOPBACK:
            logger.warning(
                "open to anyone who reaches %s; require keys with --api-key-file", settings.host
            )
        port = listener.getsockname()[1]  # chosen by the system if it was 0
        logger.info("listening on http://%s:%d, documentation at /docs", settings.host, port)
        # An inherited directory is another service's: this one needs its own.
        if workers == 1 and metrics.DIRECTORY not in os.environ:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            with _shared_directory() as directory:
                metrics.share(directory)
                _Supervisor(config, sockets=[listener]).run()


class _Supervisor(Multiprocess):
    """Notices at once that a worker died, even one whose reply it is waiting for."""

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that are dead or don't answer."""
        for process in self.processes:
            process.child_conn.close()  # the worker's own is then the last one
        super().keep_subprocess_alive()


def _shared_directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="trivet-")
    except OSError as error:
        raise SettingsError(
            f"several workers need a temporary directory for their metrics ({error.strerror}); "
            "set TMPDIR to one that can be written to, or --workers 1"
        ) from error


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
