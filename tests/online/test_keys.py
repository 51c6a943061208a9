"""API keys: who is let in, and which files of keys can be used."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Server, ready_client, run_trivet, serving, wait_until
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
from trivet.online.keys import Keys, read_keys
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
    settings = ServeSettings("flights", models_dir=flights_store, api_key_file=keys)
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
    assert [*read_keys(path)] == [key.encode() for key in KEYS]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "can't be read"),
        (b"", "holds no key"),
        (b"\n \n", "holds no key"),
        (f"{KEYS[0]}\nshort\n".encode(), "line 2 can't be read"),
        (f"{KEYS[0]} short-label-of-no-key".encode(), "line 1"),
        (f"short-label:{KEYS[0]}".encode(), "NAME: KEY"),
        (f"# the keys\n\n{KEYS[0]} # short".encode(), "line 3"),
        (f"{'short' * 9}: {KEYS[0]}".encode(), "line 1"),
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
    assert KEYS[0] not in str(raised.value)


def test_the_service_does_not_start_without_its_keys(flights_store: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("short")
    options = ("--model", "flights", "--models-dir", str(flights_store), "--port", "0")
    result = run_trivet("serve", *options, "--api-key-file", "keys", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "openssl rand" in result.stderr


def test_a_key_may_have_a_name(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who may ask\nalice@example.com: {KEYS[0]}\n\n  {KEYS[1]}  \n")
    assert read_keys(path) == {KEYS[0].encode(): "alice@example.com", KEYS[1].encode(): "unnamed"}


def test_requests_are_counted_and_logged_by_the_name_of_their_key(
    flights_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys").write_text(f"alice: {KEYS[0]}\n{KEYS[1]}\n")
    caplog.set_level("INFO", "trivet.access")
    settings = ServeSettings(
        "flights", models_dir=flights_store, api_key_file=tmp_path / "keys", access_log=True
    )
    with ready_client(settings) as client:
        for key in (KEYS[0], KEYS[0], KEYS[1], "wrong"):
            client.post("/predict", json=ASKED, headers={"x-api-key": key})
        page = client.get("/metrics", headers=WITH[0]).text
    assert 'trivet_key_requests_total{key="alice"} 2.0' in page
    assert 'trivet_key_requests_total{key="unnamed"} 1.0' in page
    facts = [record.facts for record in caplog.records]  # type: ignore[attr-defined]
    keys = [each["key"] for each in facts if each["path"] == "/predict"]
    assert keys == ["alice", "alice", "unnamed", None]


def test_refusals_are_logged_without_the_key(guarded: TestClient, caplog: Any) -> None:
    caplog.set_level("INFO", "trivet.access")
    guarded.get("/model", headers={"x-api-key": "not-a-key-of-this-service"})
    (record,) = caplog.records
    assert record.facts["status"] == 401
    assert "not-a-key-of-this-service" not in repr(record.__dict__)


def test_the_document_names_how_a_key_is_brought(guarded: TestClient, client: TestClient) -> None:
    document = guarded.get("/openapi.json", headers=WITH[0]).json()
    ways = document["components"]["securitySchemes"]
    assert {(each["type"], each.get("scheme"), each.get("name")) for each in ways.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            either: Any = [{name: []} for name in ways] if "401" in about["responses"] else None
            assert about.get("security") == either, f"{method} {path}"
    assert "security" not in client.get("/openapi.json").text


def statuses(server: Server) -> set[tuple[int, ...]]:
    """The statuses that the two keys get, in several turns: any worker may answer."""
    url = f"{server.url}/model"
    asked = [urllib.request.Request(url, headers={"x-api-key": key}) for key in KEYS]
    return {tuple(server.ask(each)[0] for each in asked) for _ in range(50)}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_keys_come_and_go_while_the_service_runs(
    flights_store: Path, tmp_path: Path, workers: str
) -> None:
    """As Kubernetes mounts a secret: the file is a link to one in a folder that is replaced."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one/keys").write_text(KEYS[0])
    (tmp_path / "two/keys").write_text(KEYS[1])
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "keys").symlink_to("data/keys")
    options = ("--model", "flights", "--models-dir", str(flights_store), "--workers", workers)
    with serving(*options, "--api-key-file", "keys", cwd=tmp_path) as server:
        wait_until(lambda: statuses(server) == {(200, 401)})
        (tmp_path / "aside").symlink_to("two")
        (tmp_path / "aside").replace(tmp_path / "data")
        wait_until(lambda: statuses(server) == {(401, 200)}, 10)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        before = children.read_text()
        server.process.send_signal(signal.SIGHUP)
        for content in ("", "short", None):
            (tmp_path / "two/keys").unlink()
            if content is not None:
                (tmp_path / "two/keys").write_text(content)
            word = {"": "holds no key", "short": "line 1", None: "No such file"}[content]
            wait_until(lambda: word in json.dumps(server.logs()), 10)  # noqa: B023 - called here
            assert statuses(server) == {(401, 200)}
        assert children.read_text() == before
        assert server.process.poll() is None


def test_a_file_of_keys_that_stays_broken_is_one_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text(KEYS[0])
    keys = Keys(ServeSettings(api_key_file=path))
    path.write_text("")
    for _ in range(3):
        keys.catch_up()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert keys.admit({b"x-api-key": KEYS[0].encode()}) == "unnamed"
