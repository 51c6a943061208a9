"""The headers that every answer has."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.online.asking import ASKED, CSV, JSON, SECURITY, ask_json
from trivet.model.artifact import Artifact
from trivet.online.inference import LARGE

REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "200": ("POST", "/predict", {"json": ASKED}),
    "200-csv": ("POST", "/predict", {"json": ASKED, "headers": {"accept": CSV}}),
    "200-health": ("GET", "/health/live", {}),
    "200-metrics": ("GET", "/metrics", {}),
    "200-head": ("HEAD", "/", {}),
    "200-asset": ("GET", "/docs/assets/swagger-ui.css", {}),
    "200-schema": ("GET", "/openapi.json", {}),
    "400": ("POST", "/predict", {"content": b"{"}),
    "404": ("GET", "/nowhere", {}),
    "405": ("GET", "/predict", {}),
    "415": ("POST", "/predict", {"content": b"", "headers": {"content-type": "text/html"}}),
    "422": ("POST", "/predict", {"json": 7}),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_answer_has_the_security_headers(client: TestClient, kind: str) -> None:
    method, path, how = REQUESTS[kind]
    response = client.request(method, path, **how)
    assert response.status_code == int(kind[:3])
    given = {name: response.headers.get_list(name) for name in SECURITY}
    assert given == {name: [value] for name, value in SECURITY.items()}
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


def test_pages_with_rules_of_their_own_keep_the_other_headers(
    client: TestClient, guarded: TestClient
) -> None:
    model = client.get("/model")
    unchanged = client.get("/model", headers={"if-none-match": model.headers["etag"]})
    docs = client.get("/docs")
    assert unchanged.status_code == 304
    for response, own in (
        (model, "cache-control"),
        (unchanged, "cache-control"),
        (docs, "content-security-policy"),
    ):
        assert len(response.headers.get_list(own)) == 1
        others = SECURITY.items() - {(own, SECURITY[own])}
        assert others <= set(response.headers.items())
    assert "frame-ancestors 'none'" in docs.headers["content-security-policy"]
    assert SECURITY.items() <= set(guarded.get("/").headers.items())


@pytest.mark.parametrize("accept", [JSON, CSV])
@pytest.mark.parametrize("rows", [1, LARGE // 100])
def test_predictions_name_the_version_that_made_them(
    client: TestClient, flights: Artifact, accept: str, rows: int
) -> None:
    response = ask_json(client, "/predict", {"instances": [ASKED] * rows}, accept)
    assert response.headers.get_list("x-model-version") == [flights.manifest.version]
    assert "x-model-version" not in ask_json(client, "/predict", 7, accept).headers


@pytest.mark.parametrize("given", ["a", "7f96e50a-1c1f", "x" * 128, "!~"])
def test_a_request_id_is_given_back(client: TestClient, given: str) -> None:
    for method, path, how in REQUESTS.values():
        headers = {**how.get("headers", {}), "X-Request-ID": given}
        response = client.request(method, path, **{**how, "headers": headers})
        assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, b"\xc3\xbc", b"a\tb"])
def test_a_request_id_that_is_unfit_is_replaced(client: TestClient, given: bytes) -> None:
    response = client.get("/health", headers={b"x-request-id": given})
    (made,) = response.headers.get_list("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_request_ids_are_made_anew(client: TestClient) -> None:
    assert len({client.get("/health").headers["x-request-id"] for _ in range(20)}) == 20
