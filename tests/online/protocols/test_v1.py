"""KServe's protocol, version 1."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Server
from tests.online.asking import (
    ASKED,
    FLIGHT,
    HEADER,
    JSON,
    LINE,
    ask_csv,
    ask_json,
    assert_a_key_changes_nothing_else,
    assert_refused_before_its_end,
    assert_refused_unsent,
    example,
    of_one,
    refusals,
)  # fmt: skip
from trivet.model.artifact import Artifact

MODELS = "/v1/models"
PREDICT = f"{MODELS}/flights:predict"


def v1_error(response: Any, status: int) -> str:
    """What an error says, once it is found to have the protocol's form and nothing else."""
    assert response.status_code == status
    assert response.headers["content-type"] == JSON
    body = response.json()
    assert body.keys() == {"error"}
    return str(body["error"])


def test_the_model_is_listed_and_ready(client: TestClient) -> None:
    assert client.get(MODELS).json() == {"models": ["flights"]}
    assert client.get(f"{MODELS}/flights").json() == {"name": "flights", "ready": True}
    assert client.head(f"{MODELS}/flights").status_code == 200
    assert client.get("/").json()["v1"] == MODELS


def test_another_model_is_404(client: TestClient) -> None:
    assert "there is no mine here" in v1_error(client.get(f"{MODELS}/mine"), 404)
    v1_error(client.post(f"{MODELS}/mine:predict", json={"instances": [ASKED]}), 404)


def test_instances_are_answered_with_predictions_alone(
    client: TestClient,
    flights: Artifact,
    november: list[dict[str, Any]],
    answers: list[dict[str, Any]],
) -> None:
    response = ask_json(client, PREDICT, {"instances": november})
    assert response.headers["content-type"] == JSON
    assert response.headers["x-model-version"] == flights.manifest.version
    assert response.json() == {"predictions": [each["prediction"] for each in answers]}


@pytest.mark.parametrize("model", ["diabetes", "iris", "wine"])
def test_instances_may_be_values_in_the_order_of_the_features(
    model: str, request: pytest.FixtureRequest
) -> None:
    client: TestClient = request.getfixturevalue(model)
    record = example(client)
    names = [column["name"] for column in client.get("/model").json()["contract"]["columns"]]
    values = [record[name] for name in names]
    content = {"instances": [values, record], "parameters": {"top": 3}}
    body = client.post(f"{MODELS}/small:predict", json=content).json()
    assert body == {"predictions": [of_one(client, record)["prediction"]] * 2}


def test_instances_that_do_not_fit_are_422_and_all_listed(client: TestClient) -> None:
    instances = [FLIGHT, [11, 5], {**FLIGHT, "month": "May", "hour": "five"}, 7]
    said = v1_error(client.post(PREDICT, json={"instances": instances}), 422)
    for fault in ("row 1: ", "row 2, field 'month'", "row 2, field 'hour'", "row 3: "):
        assert fault in said


def test_other_refusals_have_the_protocols_form_too(client: TestClient) -> None:
    v1_error(client.post(PREDICT, content=b"{", headers={"content-type": JSON}), 400)
    v1_error(ask_csv(client, f"{HEADER}\n{LINE}", PREDICT), 415)
    v1_error(client.post(f"{MODELS}/flights:explain", json={"instances": []}), 405)
    v1_error(client.post(MODELS, json={}), 405)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", MODELS), ("GET", f"{MODELS}/flights"), ("POST", PREDICT)]
)
def test_without_a_key_that_is_known_it_is_401(
    guarded: TestClient, client: TestClient, method: str, path: str
) -> None:
    content = {"instances": [ASKED]} if method == "POST" else None
    for response in refusals(guarded, method, path, content):
        v1_error(response, 401)
    assert_a_key_changes_nothing_else(guarded, client, method, path, content)


def test_a_body_that_is_too_large_is_refused(small_server: Server) -> None:
    assert "40,000 bytes" in assert_refused_unsent(small_server, PREDICT)["error"]
    assert_refused_before_its_end(small_server, PREDICT)
