"""The process, or processes: uvicorn runs the app in one worker or in several."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import sys
import tempfile
from functools import partial

import uvicorn
from uvicorn.supervisors import Multiprocess

from trivet.cpus import worker_count
from trivet.errors import SettingsError
from trivet.model.store import ModelStore
from trivet.online import metrics
from trivet.online.app import create_app
from trivet.online.logs import logging_config
from trivet.online.settings import ListenSettings

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
    if settings.tls_cert:
        tls_context(settings)
    config = uvicorn.Config(
        partial(create_app, settings),
        factory=True,
        workers=workers,
        timeout_worker_healthcheck=STARTING,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        log_config=logging_config(settings.log_level),
        ssl_context_factory=partial(tls_context, settings) if settings.tls_cert else None,
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
        scheme = "https" if settings.tls_cert else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        logger.info("listening on %s://%s:%d, documentation at /docs", scheme, host, port)
        # An inherited directory is another service's: this one needs its own.
        if workers == 1 and metrics.DIRECTORY not in os.environ:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            with tempfile.TemporaryDirectory(prefix="trivet-") as directory:
                metrics.share(directory)
                _Supervisor(config, sockets=[listener]).run()


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


class _Supervisor(Multiprocess):
    """Notices at once that a worker died, even one whose reply it is waiting for."""

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that are dead or don't answer."""
        for process in self.processes:
            process.child_conn.close()  # the worker's own is then the last one
        super().keep_subprocess_alive()


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
