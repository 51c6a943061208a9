"""Pages of other origins, in the headers by which a browser lets them ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ready_client, serving
from tests.online.asking import ASKED, KEYS, problem
from tests.online.test_faults import options
from tests.online.test_wire import answers_of
from trivet.errors import SettingsError
from trivet.online.settings import ServeSettings

ORIGIN = "https://app.example.com"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type, x-api-key",
}


@pytest.fixture(scope="module")
def shared(flights_store: Path) -> Iterator[TestClient]:
    settings = ServeSettings(
        "flights",
        models_dir=flights_store,
        api_keys=[KEYS[0].encode()],
        cors_origins=[ORIGIN, "http://localhost:3000"],
    )
    with ready_client(settings) as client:
        yield client


def test_a_preflight_needs_no_key(shared: TestClient) -> None:
    response = shared.options("/predict", headers={"origin": ORIGIN, **PREFLIGHT})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "x-api-key" in response.headers["access-control-allow-headers"]


def test_answers_and_problems_may_be_read(shared: TestClient) -> None:
    for key, status in ((KEYS[0], 200), ("wrong", 401)):
        headers = {"origin": ORIGIN, "x-api-key": key}
        response = shared.post("/predict", json=ASKED, headers=headers)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in response.headers["vary"]
        assert "X-Request-ID" in response.headers["access-control-expose-headers"]


def test_another_origin_is_not_let_in(shared: TestClient) -> None:
    other = {"origin": "https://example.com"}
    assert shared.options("/predict", headers={**other, **PREFLIGHT}).status_code == 400
    response = shared.post("/predict", json=ASKED, headers={**other, "x-api-key": KEYS[0]})
    assert "access-control-allow-origin" not in response.headers


def test_what_cannot_be_read_is_refused_though_it_looks_like_a_preflight(
    flights_store: Path, tmp_path: Path
) -> None:
    head = b"OPTIONS /predict HTTP/1.1\r\nHost: a\r\nHost: b\r\nOrigin: %b\r\n" % ORIGIN.encode()
    sent = head + b"Access-Control-Request-Method: POST\r\n\r\n"
    with serving(*options(flights_store), "--cors-origin", ORIGIN, cwd=tmp_path) as server:
        answers = answers_of(server, [sent], closes=True)
        assert [answer[0] for answer in answers] == [400]


def test_without_the_option_no_page_is_let_in(client: TestClient) -> None:
    headers = {"origin": ORIGIN, **PREFLIGHT}
    problem(client.options("/predict", headers=headers), 405)
    assert "access-control-allow-origin" not in client.get("/", headers=headers).headers


def test_any_origin_can_be_let_in(flights_store: Path) -> None:
    settings = ServeSettings("flights", models_dir=flights_store, cors_origins=["*"])
    with ready_client(settings) as client:
        headers = {"origin": "https://example.com"}
        assert client.get("/", headers=headers).headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "origin", ["app.example.com", f"{ORIGIN}/", "https://App.example.com", "null", ""]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match="--cors-origin"):
        ServeSettings(cors_origins=[origin])
