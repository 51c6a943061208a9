"""The service under a path of a proxy's, whether or not that passes the path on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ready_client
from tests.online.asking import ASKED, KEYS, problem
from trivet.errors import SettingsError
from trivet.online.settings import ServeSettings

ROOT_PATH = "/models/flights"


@pytest.fixture(scope="module")
def behind(flights_store: Path) -> Iterator[TestClient]:
    settings = ServeSettings(
        "flights", models_dir=flights_store, root_path=ROOT_PATH, api_keys=[KEYS[0].encode()]
    )
    with ready_client(settings) as client:
        client.headers["x-api-key"] = KEYS[0]
        yield client


@pytest.mark.parametrize("passed_on", ["", ROOT_PATH])
def test_each_route_is_answered(behind: TestClient, client: TestClient, passed_on: str) -> None:
    expected = client.post("/predict", json=ASKED)
    assert behind.post(f"{passed_on}/predict", json=ASKED).content == expected.content
    for path in ("/model", "/docs", "/docs/assets/swagger-ui.css", "/v2"):
        assert behind.get(f"{passed_on}{path}").content == client.get(path).content
    assert behind.get(f"{passed_on}/health/ready", headers={"x-api-key": ""}).status_code == 200


def test_paths_that_only_begin_alike_are_not_taken_for_it(behind: TestClient) -> None:
    problem(behind.get(f"{ROOT_PATH}s/model"), 404)


@pytest.mark.parametrize("passed_on", ["", ROOT_PATH])
def test_errors_have_the_form_of_their_protocol(behind: TestClient, passed_on: str) -> None:
    problem(behind.get(f"{passed_on}/nowhere"), 404)
    if "v2" in behind.get("/").json():
        assert behind.get(f"{passed_on}/v2/models/other").json().keys() == {"error"}


def test_links_and_documentation_name_the_path_that_callers_see(behind: TestClient) -> None:
    links = behind.get("/").json()
    assert links["predict"] == f"{ROOT_PATH}/predict"
    for link in links.values():
        assert behind.get(link).status_code in (200, 405)
    assert behind.get("/openapi.json").json()["servers"] == [{"url": ROOT_PATH}]
    page = behind.get("/docs").text
    assert "'openapi.json'" in page
    assert '"docs/assets/swagger-ui.css"' in page


def test_metrics_name_routes_without_it(behind: TestClient) -> None:
    behind.post(f"{ROOT_PATH}/predict", json=ASKED)
    page = behind.get("/metrics").text
    assert 'trivet_requests_total{route="/predict",status="200"}' in page
    assert ROOT_PATH not in page


@pytest.mark.parametrize("path", ["models", "/models/", "/", "//a", "/a?b", "/{model}"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match="--root-path"):
        ServeSettings(root_path=path)
