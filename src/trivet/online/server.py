"""The process: uvicorn over the app, one worker or several."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from dataclasses import replace
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from trivet.errors import SettingsError
from trivet.online.app import create_app
from trivet.online.live_model import ServeSettings

logger = logging.getLogger("trivet.online")

#: How long requests in flight may take once the service was told to stop.
DRAIN_SECONDS = 20


def serve(settings: ServeSettings, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; answers what is in flight first, then exits with 0.

    Raises `StoreError` or `ArtifactError` before it listens, where there is no model to serve.
    """
    artifact = settings.artifact()
    artifact.verify()
    # All workers, and those that replace a dead one, answer with this version.
    settings = replace(settings, model_version=artifact.manifest.version)
    config = uvicorn.Config(
        partial(create_app, settings),
        factory=True,
        workers=workers,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        log_config=LOGGING,
    )
    # uvicorn raises the signal again once it has drained: then the work is done, a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with _listen(host, port) as listener:
        logger.info("listening on http://%s:%d, documentation at /docs", host, port)
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            Multiprocess(config, sockets=[listener]).run()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"{host}:{port} can't be listened on ({error.strerror}); choose another --port"
        ) from error


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
