"""A pytest plugin that keeps each small request that tests send, for both ways to answer.

TRIVET_CORPUS=FILE python -m pytest -p tests.online.corpus ...
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from trivet.online.fast_path import PLAIN_BYTES

#: What a connection adds by itself, or another test compares.
OWN = {"host", "connection", "content-length", "content-encoding", "user-agent", "x-request-id"}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep what is posted from now on, one request a line, in hexadecimal."""
    send, seen = httpx.Client.send, set[bytes]()
    corpus = Path(os.environ["TRIVET_CORPUS"])

    def keep(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(client, request, **options)
        body = getattr(request, "content", b"") if request.method == "POST" else b""
        path = request.url.raw_path
        if 0 < len(body) <= PLAIN_BYTES and b"?" not in path:
            lines = [line for line in request.headers.raw if line[0].decode().lower() not in OWN]
            lines.append((b"Content-Length", b"%d" % len(body)))
            head = b"".join(b"%b: %b\r\n" % line for line in lines)
            text = b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (path, head, body)
            if text not in seen:
                seen.add(text)
                with corpus.open("a") as file:
                    file.write(text.hex() + "\n")
        return response

    pytest.MonkeyPatch().setattr(httpx.Client, "send", keep)
