"""The command `trivet serve`."""

from __future__ import annotations

from typing import Any, get_args

import click

from trivet.cli.options import (
    FILE,
    MODEL,
    MODEL_VERSION,
    MODELS_DIR,
    NO_PICKLE,
    VERIFY_KEY,
    WORKERS,
    defaults_from,
    limit,
    seconds,
)
from trivet.cpus import limit_threads
from trivet.online.settings import ListenSettings, LogLevel


@defaults_from(ListenSettings)
@click.command()
@click.argument(  # SageMaker starts a container with this word
    "serve", required=False, type=click.Choice(["serve"]), metavar="", expose_value=False
)
@click.option("--host", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    envvar=["TRIVET_SERVE_PORT", "AIP_HTTP_PORT"],
    help="The port to listen on.",
)
@WORKERS
@limit("--max-head", "BYTES", "Refuse requests whose URL and headers are larger than this.")
@limit("--max-body", "BYTES", "Refuse requests larger than this.")
@limit("--max-rows", "RECORDS", "Refuse requests with more records than this.")
@limit("--max-in-flight", "REQUESTS", "Refuse requests beyond this many at once, in each worker.")
@seconds("--deadline", "Give up on a request after this long.", least=0.1)
@seconds("--idle-timeout", "Close a connection that sends no request for this long.", least=0.1)
@seconds("--drain", "Once told to stop, keep answering for this long while reporting not ready.")
@seconds("--hang-timeout", "Replace one of several workers that hangs for this long.", least=1)
@seconds("--reload-every", "How often to check for a new current version; 0: never.")
@click.option(
    "--api-key-file",
    type=FILE,
    help="Answer only callers with a key from this file; each line is KEY or NAME: KEY.",
)
@click.option(
    "--tls-cert", type=FILE, help="Answer over HTTPS with this certificate and its chain, in PEM."
)
@click.option("--tls-key", type=FILE, help="The private key of the certificate, in PEM.")
@click.option(
    "--log-level", type=click.Choice(get_args(LogLevel)), help="Log nothing below this level."
)
@click.option("--access-log/--no-access-log", help="Log every request.")
@click.option(
    "--predict-route",
    metavar="PATH",
    envvar=["TRIVET_SERVE_PREDICT_ROUTE", "AIP_PREDICT_ROUTE"],
    help="Another path for /predict.",
)
@click.option(
    "--health-route",
    metavar="PATH",
    envvar=["TRIVET_SERVE_HEALTH_ROUTE", "AIP_HEALTH_ROUTE"],
    help="Another path for /health/ready.",
)
@click.option(
    "--root-path",
    metavar="PATH",
    help="The path that a proxy has the service under, whether or not it passes that on.",
)
@click.option(
    "--cors-origin",
    metavar="ORIGIN",
    multiple=True,
    help="Let pages of this origin, such as https://app.example.com, ask from a browser. "
    "Repeatable; * is any.",
)
@MODEL
@MODEL_VERSION
@MODELS_DIR
@VERIFY_KEY
@NO_PICKLE
def serve(cors_origin: tuple[str, ...], **options: Any) -> None:
    """Answer requests over HTTP."""
    # One thread per worker: requests are small, and more threads would compete for cores.
    limit_threads(1)
    from trivet.online.server import serve

    serve(ListenSettings(cors_origins=cors_origin, **options))
