"""API keys: who is let in, and which files of keys can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ready_client, run_trivet
from tests.online.asking import (
    ASKED,
    KEYS,
    WITH,
    WITHOUT,
    assert_a_key_changes_nothing_else,
    assert_open,
    problem,
    refusals,
)  # fmt: skip
from trivet.errors import SettingsError
from trivet.online.keys import read_keys
from trivet.online.settings import ServeSettings

BEHIND_KEYS = [
    *(("GET", "/"), ("GET", "/model"), ("GET", "/docs"), ("GET", "/nowhere"), ("GET", "/predict")),
    *(("GET", "/docs/assets/swagger-ui.css"), ("POST", "/predict")),
]
#: What differs between services, but not by the key.
OF_THE_SERVICE = [("GET", "/metrics"), ("GET", "/openapi.json"), ("POST", "/probe")]


def asked_of(method: str) -> object:
    return ASKED if method == "POST" else None


@pytest.mark.parametrize(("method", "path"), [*BEHIND_KEYS, *OF_THE_SERVICE])
def test_without_a_key_that_is_known_all_but_health_is_401(
    guarded: TestClient, method: str, path: str
) -> None:
    for response in refusals(guarded, method, path, asked_of(method)):
        problem(response, 401)


@pytest.mark.parametrize(("method", "path"), BEHIND_KEYS)
def test_with_a_key_by_either_header_all_is_as_without_keys(
    guarded: TestClient, client: TestClient, method: str, path: str
) -> None:
    assert_a_key_changes_nothing_else(guarded, client, method, path, asked_of(method))


@pytest.mark.parametrize("headers", WITH)
def test_with_a_key_all_else_is_answered(guarded: TestClient, headers: dict[str, str]) -> None:
    for method, path in OF_THE_SERVICE:
        response = guarded.request(method, path, json=asked_of(method), headers=headers)
        assert response.status_code == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_needs_no_key(guarded: TestClient, overloaded: TestClient, path: str) -> None:
    assert_open(guarded, overloaded, path)


def test_a_platforms_probe_needs_no_key(guarded: TestClient) -> None:
    assert guarded.get("/probe").status_code == guarded.head("/probe").status_code == 200


@pytest.mark.parametrize("keys", [[b""], ["0123456789abcdef"], b"0123456789abcdef"])
def test_a_key_that_would_let_anyone_in_or_nobody_is_refused(keys: Any) -> None:
    with pytest.raises(SettingsError, match="api_keys is a list of bytes, 16 or more"):
        ServeSettings("flights", api_keys=keys)


def test_refused_callers_are_counted(flights_store: Path, keys: Path) -> None:
    settings = ServeSettings("flights", models_dir=flights_store, api_keys=read_keys(keys))
    with ready_client(settings) as client:
        for headers in WITHOUT:
            assert client.post("/predict", json=ASKED, headers=headers).status_code == 401
        page = client.get("/metrics", headers=WITH[0]).text
    assert f'trivet_rejected_total{{reason="unauthorized"}} {len(WITHOUT)}.0' in page
    assert f'trivet_requests_total{{route="other",status="401"}} {len(WITHOUT)}.0' in page


def test_every_route_that_asks_for_a_key_documents_it(guarded: TestClient) -> None:
    paths = guarded.get("/openapi.json", headers=WITH[0]).json()["paths"]
    for path, methods in paths.items():
        for method, about in methods.items():
            asked = path.format(model="flights", version="1")
            is_401 = guarded.request(method, asked).status_code == 401
            assert ("401" in about["responses"]) == is_401, f"{method} {path}"


def test_keys_may_be_written_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(f"{KEYS[0]}\r\n\r\n{KEYS[1]}\r\n".encode())
    assert read_keys(path) == tuple(key.encode() for key in KEYS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "can't be read"),
        (b"", "holds no key"),
        (b"\n \n", "holds no key"),
        (f"{KEYS[0]}\nshort\n".encode(), "16 or more"),
        ("schlüssel-schlüssel".encode(), "ASCII"),
        (b"\x00" * 32, "ASCII"),
    ],
)
def test_a_key_file_that_can_not_be_used_is_one_line(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=reason) as raised:
        read_keys(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "short" not in str(raised.value)


def test_the_service_does_not_start_without_its_keys(flights_store: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("short")
    options = ("--model", "flights", "--models-dir", str(flights_store), "--port", "0")
    result = run_trivet("serve", *options, "--api-key-file", "keys", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "openssl rand" in result.stderr
