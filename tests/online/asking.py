"""Requests in every media type, and checks of what they bring."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.testclient import TestClient

from tests.conftest import ROOT, Server
from trivet.online.problems import MEDIA_TYPE

JSON, CSV = "application/json", "text/csv"
FLIGHT: dict[str, Any] = json.loads((ROOT / "data/flight.json").read_text())
HEADER = "month,day_of_week,hour,carrier,origin,dest,distance,dep_delay"
LINE = "11,5,17,UA,EWR,ORD,719,64"
ASKED = dict(zip(HEADER.split(","), [11, 5, 17, "UA", "EWR", "ORD", 719, 64], strict=True))
SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
#: How many flights of November are asked for together.
ROWS = 300
KEYS = ("correct-horse-battery", "staple-0123456789-abcdef")
WITHOUT = [
    {},
    {"authorization": "Bearer wrong-key-of-some-length"},
    {"x-api-key": "wrong-key-of-some-length"},
    {"authorization": f"Bearer {KEYS[0][:-1]}"},
    {"authorization": f"Bearer {KEYS[0]}{KEYS[1]}"},
    {"authorization": f"Basic {KEYS[0]}"},
    {"authorization": "Basic " + b64encode(f"{KEYS[0]}:wrong".encode()).decode()},
    {"authorization": "Basic x"},
    {"authorization": KEYS[0]},
    {"authorization": "Bearer"},
    {"x-api-key": ""},
    {"x-api-key": KEYS[0].upper()},
]
WITH = [
    {"authorization": f"Bearer {KEYS[0]}"},
    {"authorization": f"bearer {KEYS[1]}"},
    {"x-api-key": KEYS[0]},
    {"X-API-Key": KEYS[1]},
    {"authorization": "Bearer of.a-platform", "x-api-key": KEYS[0]},
    {"authorization": f"Bearer {KEYS[0]}", "x-api-key": "of-something-else"},
    {"authorization": "Basic " + b64encode(f"any:{KEYS[0]}".encode()).decode()},
]


def problem(response: Any, status: int) -> dict[str, Any]:
    """The problem that a response carries, once it is found to be one."""
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in response.text
    return body


def ask_csv(
    client: TestClient, body: str | bytes, path: str = "/predict", accept: str = JSON
) -> Any:
    return client.post(path, content=body, headers={"content-type": CSV, "accept": accept})


def ask_json(client: TestClient, path: str, content: object, accept: str = "*/*") -> Any:
    body = json.dumps(content)  # which writes NaN, as many a caller does
    return client.post(path, content=body, headers={"content-type": JSON, "accept": accept})


def of_one(client: TestClient, record: Mapping[str, object] = ASKED) -> Any:
    """The answer of /predict to one record."""
    (answer,) = client.post("/predict", json=record).json()["predictions"]
    return answer


def faults(response: Any) -> list[tuple[int | None, str | None, str]]:
    return [
        (fault.get("row"), fault.get("field"), fault["code"])
        for fault in problem(response, 422)["errors"]
    ]


def example(client: TestClient) -> dict[str, Any]:
    record: dict[str, Any] = client.get("/model").json()["contract"]["example"]
    return record


def tensors(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A tensor for each column, of the datatype that its values have."""
    columns = {name: [each[name] for each in records] for name in records[0]}
    return [
        {"name": name, "shape": [len(records)], "datatype": datatype_of(values), "data": values}
        for name, values in columns.items()
    ]


def datatype_of(values: list[Any]) -> str:
    types = {type(value) for value in values if value is not None}
    if str in types:
        return "BYTES"
    return {frozenset({bool}): "BOOL", frozenset({int}): "INT64"}.get(frozenset(types), "FP64")


def raw(server: Server, *sent: bytes) -> tuple[int, dict[str, str], Any]:
    """What comes of these bytes: status, headers and JSON of one answer."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as caller:
        for each in sent:
            caller.sendall(each)
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = caller.recv(65_536)
            assert received, "the connection was closed before an answer"
            answer += received
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers["content-length"]):
            body += caller.recv(65_536)
    return int(status.split()[1]), headers, json.loads(body)


def rejected(server: Server, reason: str) -> float:
    page = server.get("/metrics")[1].decode()
    (count,) = re.findall(
        rf'^trivet_rejected_total{{reason="{reason}"}} (\S+)$', page, re.MULTILINE
    )
    return float(count)


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", *lines, "", "")).encode()


def refusals(guarded: TestClient, method: str, path: str, content: object = None) -> Iterator[Any]:
    """The answers to a request without a key, once they are found to be 401 and to tell no key."""
    for headers in WITHOUT:
        response = guarded.request(method, path, json=content, headers=headers)
        assert response.status_code == 401, headers
        scheme = "Basic" if path == "/docs" else "Bearer"
        assert response.headers["www-authenticate"].startswith(scheme)
        assert "Authorization: Bearer KEY" in response.text
        assert not any(key in response.text for key in KEYS)
        yield response


def assert_a_key_changes_nothing_else(
    guarded: TestClient, client: TestClient, method: str, path: str, content: object = None
) -> None:
    expected = client.request(method, path, json=content)
    for headers in WITH:
        response = guarded.request(method, path, json=content, headers=headers)
        assert response.status_code == expected.status_code
        assert response.content == expected.content


def assert_open(guarded: TestClient, overloaded: TestClient, path: str) -> None:
    """Health needs no key, and no room among the requests in flight."""
    assert guarded.get(path).status_code == 200
    assert guarded.get(path, headers={"x-api-key": "wrong"}).status_code == 200
    assert guarded.head(path).status_code == 200
    assert overloaded.get(path).status_code == 200


def assert_refused_unsent(server: Server, path: str) -> Any:
    """A body that says it is too large is refused; the answer's JSON."""
    before = rejected(server, "body_too_large")
    status, headers, body = raw(server, head(path, "Content-Length: 40001"))
    assert status == 413
    assert SECURITY.items() <= headers.items()
    assert "server" not in headers
    assert rejected(server, "body_too_large") == before + 1
    return body


def assert_refused_before_its_end(server: Server, path: str) -> None:
    """A body that turns out too large is refused."""
    before = rejected(server, "body_too_large")
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    sent = (head(path, "Transfer-Encoding: chunked"), *[chunk] * 10)  # and no end
    assert raw(server, *sent)[0] == 413
    assert rejected(server, "body_too_large") == before + 1


def post_csv(server: Server, path: str, table: str) -> int:
    """The status of the answer to a table."""
    headers = {"Content-Type": CSV}
    return server.ask(urllib.request.Request(server.url + path, table.encode(), headers))[0]
