"""The process: uvicorn over the app, one worker or several."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from trivet.errors import SettingsError
from trivet.model.store import ModelStore
from trivet.online import metrics
from trivet.online.app import create_app
from trivet.online.logs import LOGGING
from trivet.online.settings import ServeSettings

logger = logging.getLogger("trivet.online")

LOOPBACK = ("127.0.0.1", "::1")
#: How long requests in flight may take once the service stops.
GRACE = 20
#: How long a worker may take to import what it needs before it counts as hung.
STARTING = 60


def serve(settings: ServeSettings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; answers what is in flight first, then exits with 0.

    Raises `StoreError`, `ArtifactError` or `SettingsError` before it listens, where there is no
    model to serve or a setting can't be used.
    """
    store = ModelStore(settings.models_dir)
    store.artifact(settings.model, settings.model_version).verify()
    config = uvicorn.Config(
        partial(create_app, settings),
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=STARTING,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        log_config=LOGGING,
    )
    # uvicorn raises the signal again once it has drained: then the work is done, a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with _listen(host, port) as listener:
        if not settings.api_keys and listener.getsockname()[0] not in LOOPBACK:
            logger.warning("anyone who reaches %s may ask; name callers with --api-key-file", host)
        logger.info("listening on http://%s:%d, documentation at /docs", host, port)
        # Where another service's directory was inherited, this process would count into that.
        if settings.workers == 1 and metrics.DIRECTORY not in os.environ:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            with tempfile.TemporaryDirectory(prefix="trivet-") as directory:
                metrics.share(directory)
                _Supervisor(config, sockets=[listener]).run()


class _Supervisor(Multiprocess):
    """Sees the death of a worker at once, also one that it is just waiting for."""

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that are dead or don't answer."""
        for process in self.processes:
            process.child_conn.close()  # its own is the last one then
        super().keep_subprocess_alive()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} can't be listened on ({error.strerror}); choose another --port"
        ) from error
    # Else the kernel may hold back the second half of an answer until the first is acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
