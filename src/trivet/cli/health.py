"""The command `trivet health`, for health checks in containers that have no curl."""

from __future__ import annotations

import ssl
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection

import click

from trivet.cli.serve import serve

#: Addresses that a service listens on, and that nobody can ask: where it can be asked then.
WHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not bound
PATIENCE = 4


@click.command()
@click.option("--host", help="Ask at this address instead of that of `trivet serve`.")
@click.option("--port", type=click.IntRange(1, 65535), help="Ask at this port instead.")
@click.pass_context
def health(ctx: click.Context, host: str | None, port: int | None) -> None:
    """Exit with code 0 if the service is ready, and with 1 if not.

    It asks where `trivet serve` listens with the same environment and settings file.
    """
    served = serve.make_context("serve", [], parent=ctx.parent).params
    host, port = host or served["host"], port or served["port"]
    where = f"{WHERE.get(host, host)}:{port}"
    try:
        answer = _ask(WHERE.get(host, host), port, encrypted=bool(served["tls_cert"]))
        body = answer.read(1_000).decode(errors="replace")
    except (OSError, HTTPException, UnicodeError) as error:
        raise click.ClickException(f"no answer from {where}: {error}") from error
    if answer.status != 200:
        raise click.ClickException(f"{where} answered {answer.status}: {' '.join(body.split())}")


def _ask(host: str, port: int, encrypted: bool) -> HTTPResponse:
    connection = HTTPConnection(host, port, timeout=PATIENCE)
    if encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The certificate is for the name that callers use. Nothing secret is sent.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, port, timeout=PATIENCE, context=context)
    connection.request("GET", "/health/ready")
    return connection.getresponse()
