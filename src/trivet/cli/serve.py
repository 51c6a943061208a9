"""The command `trivet serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trivet.cli.options import (
    FILE,
    MODEL,
    MODEL_VERSION,
    MODELS_DIR,
    WORKERS,
    defaults_from,
    limit,
    seconds,
)
from trivet.cpus import limit_threads
from trivet.online.settings import ListenSettings


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
@seconds("--drain", "After SIGTERM or SIGINT, keep answering, but not ready, for this long.")
@seconds("--reload-every", "How often to check for a new current version; 0: never.")
@click.option(
    "--api-key-file", type=FILE, help="Answer only callers with a key from this file, one per line."
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
@MODEL
@MODEL_VERSION
@MODELS_DIR
def serve(api_key_file: Path | None, **options: Any) -> None:
    """Answer requests over HTTP."""
    # One thread per worker: requests are small, and more threads would compete for cores.
    limit_threads(1)
    from trivet.online.keys import read_keys
    from trivet.online.server import serve

    api_keys = read_keys(api_key_file) if api_key_file else ()
    serve(ListenSettings(api_keys=api_keys, **options))
