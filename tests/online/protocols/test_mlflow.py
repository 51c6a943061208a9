"""MLflow: its forms of JSON on /invocations."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Server
from tests.online.asking import (
    ASKED,
    CSV,
    FLIGHT,
    JSON,
    ask_json,
    example,
    faults,
    of_one,
    problem,
    rejected,
)  # fmt: skip
from trivet.model.artifact import Artifact


def mlflow_forms(records: list[dict[str, Any]]) -> dict[str, object]:
    names = list(records[0])
    rows = [[record[name] for name in names] for record in records]
    return {
        "dataframe_split": {"columns": names, "data": rows},
        "dataframe_records": records,
        "inputs": {name: [record[name] for record in records] for name in names},
    }


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "inputs"])
def test_mlflow_is_answered_with_labels_alone(
    client: TestClient,
    flights: Artifact,
    november: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    form: str,
) -> None:
    response = ask_json(client, "/invocations", {form: mlflow_forms(november)[form]})
    assert response.headers["content-type"] == JSON
    assert response.headers["x-model-version"] == flights.manifest.version
    assert response.json() == {"predictions": [each["prediction"] for each in answers]}


def test_mlflows_inputs_may_be_records(client: TestClient) -> None:
    response = client.post("/invocations", json={"inputs": [ASKED, FLIGHT]})
    assert response.json() == {"predictions": [True, False]}


def test_a_split_table_may_have_an_index(client: TestClient) -> None:
    split = {"index": [7], "columns": list(ASKED), "data": [list(ASKED.values())]}
    response = client.post("/invocations", json={"dataframe_split": split})
    assert response.json() == {"predictions": [True]}


@pytest.mark.parametrize("params", [None, {}, {"top": 3}, 7])
def test_params_are_let_pass(client: TestClient, params: object) -> None:
    content = {"dataframe_records": [ASKED], "params": params}
    assert client.post("/invocations", json=content).json() == {"predictions": [True]}


@pytest.mark.parametrize("other", ["parameters", "signature_name", "instances"])
def test_what_would_be_ignored_beside_a_form_is_refused(client: TestClient, other: str) -> None:
    content = {"dataframe_records": [ASKED], other: {"top": 3}}
    response = client.post("/invocations", json=content)
    assert faults(response) == [(None, other, "unknown_field")]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("dataframe_split", None),
        ("dataframe_split", []),
        ("dataframe_split", {}),
        ("dataframe_split", {"columns": ["month"]}),
        ("dataframe_split", {"columns": "month", "data": []}),
        ("dataframe_split", {"columns": ["month"], "data": {"0": [11]}}),
        ("dataframe_split", {"columns": ["month"], "data": [11]}),
        ("dataframe_split", {"columns": ["month"], "data": [None, [11, 5]]}),
        ("dataframe_split", {"columns": ["month"], "data": [[11, 5]]}),
        ("dataframe_split", {"columns": [["month"]], "data": [[11]]}),
        ("dataframe_split", {"columns": [*ASKED, "month"], "data": [[*ASKED.values(), 12]]}),
        ("dataframe_records", None),
        ("dataframe_records", ASKED),
        ("inputs", None),
        ("inputs", "text"),
        ("inputs", {}),
        ("inputs", ASKED),
        ("inputs", {"month": [11, 12], "hour": [5]}),
    ],
)
def test_malformed_forms_are_one_fault(client: TestClient, form: str, value: object) -> None:
    response = client.post("/invocations", json={form: value})
    assert faults(response) == [(None, form, "type")]


@pytest.mark.parametrize("form", ["dataframe_records", "inputs"])
def test_what_is_no_record_in_a_list_is_a_fault(client: TestClient, form: str) -> None:
    response = client.post("/invocations", json={form: [ASKED, 7, None]})
    assert faults(response) == [(1, None, "not_a_record"), (2, None, "not_a_record")]


@pytest.mark.parametrize("model", ["diabetes", "iris", "wine"])
def test_forms_for_other_models_are_answered_alike(
    model: str, request: pytest.FixtureRequest
) -> None:
    client: TestClient = request.getfixturevalue(model)
    record = example(client)
    expected = of_one(client, record)
    for form, value in mlflow_forms([record]).items():
        response = client.post("/invocations", json={form: value})
        assert response.json() == {"predictions": [expected["prediction"]]}, form


def test_json_is_answered_with_csv_without_a_header_where_that_is_asked_for(
    client: TestClient,
) -> None:
    header, line = ask_json(client, "/predict", ASKED, accept=CSV).text.splitlines()
    assert header.startswith("prediction,")
    for content in (ASKED, {"instances": [ASKED]}, {"dataframe_records": [ASKED]}):
        problem(ask_json(client, "/invocations", content, accept="image/png"), 406)
        response = ask_json(client, "/invocations", content, accept=f"{JSON};q=0.9, {CSV}")
        assert response.headers["content-type"].partition(";")[0] == CSV
        assert response.text == f"{line}\n"


def test_more_records_than_are_taken_are_refused(small_server: Server) -> None:
    before = rejected(small_server, "too_many_rows")
    status, body = small_server.post("/invocations", {"dataframe_records": [ASKED] * 51})
    assert (status, body["title"]) == (413, "Content Too Large")
    assert "50 records" in body["detail"]
    assert rejected(small_server, "too_many_rows") == before + 1
