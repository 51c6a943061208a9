"""The Open Inference Protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import trivet
from tests.conftest import Server
from tests.online.asking import (
    ASKED,
    HEADER,
    JSON,
    LINE,
    ROWS,
    ask_csv,
    ask_json,
    assert_a_key_changes_nothing_else,
    assert_open,
    assert_refused_before_its_end,
    assert_refused_unsent,
    example,
    of_one,
    refusals,
    rejected,
    tensors,
)  # fmt: skip
from trivet.model.artifact import Artifact
from trivet.rows.contract import Kind

INFER = "/v2/models/flights/infer"


def one_row(*left_out: str) -> list[dict[str, Any]]:
    return [tensor for tensor in tensors([ASKED]) if tensor["name"] not in left_out]


def v2_error(response: Any, status: int) -> str:
    """What an error says, once it is found to have the protocol's form and nothing else."""
    assert response.status_code == status
    assert response.headers["content-type"] == JSON
    body = response.json()
    assert body.keys() == {"error"}
    said: str = body["error"]
    assert said
    return said


def test_the_server_says_what_it_is(client: TestClient) -> None:
    expected: dict[str, object] = {"name": "trivet", "version": trivet.__version__}
    expected |= {"extensions": ["binary_tensor_data"]}
    assert client.get("/v2").json() == expected
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_the_model_says_what_its_tensors_are(client: TestClient, flights: Artifact) -> None:
    version = flights.manifest.version
    body = client.get("/v2/models/flights").json()
    assert body == client.get(f"/v2/models/flights/versions/{version}").json()
    assert body.keys() == {"name", "versions", "platform", "inputs", "outputs"}
    assert (body["name"], body["versions"]) == ("flights", [version])
    contract = flights.manifest.contract
    assert [each["name"] for each in body["inputs"]] == list(contract.feature_names)
    datatypes: dict[Kind, str] = {"integer": "INT64", "number": "FP64", "category": "BYTES"}
    assert [each["datatype"] for each in body["inputs"]] == [
        datatypes[column.kind] for column in contract.columns
    ]
    outputs = [(each["name"], each["datatype"]) for each in body["outputs"]]
    assert outputs == [
        ("prediction", "BOOL"),
        ("probability_false", "FP64"),
        ("probability_true", "FP64"),
    ]
    assert all(each["shape"] == [-1] for each in body["inputs"] + body["outputs"])


def test_the_model_is_ready_by_its_name_and_version(client: TestClient, flights: Artifact) -> None:
    for path in ("", f"/versions/{flights.manifest.version}"):
        body = client.get(f"/v2/models/flights{path}/ready").json()
        assert body == {"name": "flights", "ready": True}


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/models/flights", "/v2/models/flights/ready", "/v2/models/x"]
)
def test_what_is_asked_by_get_may_be_asked_by_head(client: TestClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.content) == (client.get(path).status_code, b"")


@pytest.mark.parametrize(
    "model", ["mine", "flights/versions/000000000000", "%F0%9F%9B%A9", "a%2Fb"]
)
def test_another_model_or_version_is_404(client: TestClient, model: str) -> None:
    inputs = {"inputs": one_row()}
    for response in (
        client.get(f"/v2/models/{model}"),
        client.get(f"/v2/models/{model}/ready"),
        client.post(f"/v2/models/{model}/infer", json=inputs),
    ):
        v2_error(response, 404)
    if model == "mine":
        said = v2_error(client.get(f"/v2/models/{model}"), 404)
        assert "there is no mine here; this service answers with flights" in said


def test_inference_equals_predict_to_the_last_digit(
    client: TestClient,
    flights: Artifact,
    november: list[dict[str, Any]],
    answers: list[dict[str, Any]],
) -> None:
    expected = {
        "prediction": [each["prediction"] for each in answers],
        "probability_false": [each["probabilities"]["false"] for each in answers],
        "probability_true": [each["probabilities"]["true"] for each in answers],
    }
    version = flights.manifest.version
    for path in (INFER, f"/v2/models/flights/versions/{version}/infer"):
        response = client.post(path, json={"inputs": tensors(november)})
        body = response.json()
        assert body.keys() == {"model_name", "model_version", "outputs"}
        assert (body["model_name"], body["model_version"]) == ("flights", version)
        assert response.headers["x-model-version"] == version
        assert {each["name"]: each["data"] for each in body["outputs"]} == expected
        assert [(each["datatype"], each["shape"]) for each in body["outputs"]] == [
            ("BOOL", [ROWS]),
            ("FP64", [ROWS]),
            ("FP64", [ROWS]),
        ]


@pytest.mark.parametrize(
    ("shape", "nested"), [([2], False), ([2, 1], False), ([2, 1], True), ([2], True)]
)
def test_columns_come_in_either_shape(client: TestClient, shape: list[int], nested: bool) -> None:
    records = [ASKED, {**ASKED, "dep_delay": -5}]
    inputs = [
        {**each, "shape": shape, "data": [[v] for v in each["data"]] if nested else each["data"]}
        for each in tensors(records)
    ]
    expected = client.post(INFER, json={"inputs": tensors(records)}).json()
    assert expected["outputs"][0]["data"] == [True, False]
    assert client.post(INFER, json={"inputs": inputs}).json() == expected


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_null_is_a_missing_value(client: TestClient, missing: object) -> None:
    absent = client.post(INFER, json={"inputs": tensors([ASKED])}).json()
    given = ask_json(client, INFER, {"inputs": tensors([{**ASKED, "wind_gust": missing}])})
    assert given.json() == absent


def test_identifiers_may_be_tensors(client: TestClient) -> None:
    named = tensors([{**ASKED, "flight_id": "UA-1", "late": True}])
    expected = client.post(INFER, json={"inputs": one_row()}).json()
    assert client.post(INFER, json={"inputs": named}).json() == expected


@pytest.mark.parametrize("given", ["42", "", "ü\u2028"])
def test_the_id_is_given_back(client: TestClient, given: str) -> None:
    body = client.post(INFER, json={"id": given, "inputs": one_row()}).json()
    assert body["id"] == given


def test_an_id_that_was_not_sent_is_not_given_back(client: TestClient) -> None:
    assert "id" not in client.post(INFER, json={"inputs": one_row()}).json()
    assert "id" not in client.post(INFER, json={"id": None, "inputs": one_row()}).json()


def test_outputs_are_chosen_in_the_callers_order(client: TestClient) -> None:
    wanted = [{"name": "probability_true"}, {"name": "prediction"}]
    body = client.post(INFER, json={"inputs": one_row(), "outputs": wanted}).json()
    assert [each["name"] for each in body["outputs"]] == ["probability_true", "prediction"]


def test_an_output_that_is_chosen_twice_is_given_once(client: TestClient) -> None:
    content = {"inputs": one_row(), "outputs": [{"name": "prediction"}] * 1000}
    body = client.post(INFER, json=content).json()
    assert [each["name"] for each in body["outputs"]] == ["prediction"]


def test_parameters_of_the_protocol_are_let_pass(client: TestClient) -> None:
    inputs = [{**each, "parameters": {"content_type": "np", "mine": 1}} for each in one_row()]
    content = {"inputs": inputs, "parameters": {"priority": 1, "content_type": "pd"}}
    outputs = [{"name": "prediction", "parameters": {"content_type": "str", "mine": 1}}]
    for of_outputs in (outputs, [{"name": "prediction", "parameters": None}]):
        response = client.post(INFER, json={**content, "outputs": of_outputs})
        assert response.json()["outputs"][0]["data"] == [True]


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"content_type": "pillow_image"}, ""),
        ({"content_type": "base64"}, "inputs"),
        ({"content_type": "base64"}, "outputs"),
        ({"shared_memory_region": "gpu"}, "inputs"),
        ({"shared_memory_region": "gpu"}, "outputs"),
        ({"classification": 3}, "outputs"),
        ({"binary_data": "perhaps"}, "outputs"),
        ({"binary_data_output": "perhaps"}, ""),
        ({"binary_data_size": -1}, "inputs"),
        ([], ""),
    ],
)
def test_parameters_that_would_change_the_meaning_are_400(
    client: TestClient, parameters: Any, place: str
) -> None:
    content: dict[str, Any] = {"inputs": one_row(), "outputs": [{"name": "prediction"}]}
    if place:
        content[place][0]["parameters"] = parameters
    else:
        content["parameters"] = parameters
    said = v2_error(client.post(INFER, json=content), 400)
    assert f"{place + '.0.' if place else ''}parameters" in said


UNFIT: dict[str, tuple[object, ...]] = {
    "INT8": (128, -129, 1.5, 1.0, True, "1", [1, 2], {}, 2**70),
    "INT64": (2**63, 11.5),
    "UINT8": (-1, 256),
    "UINT64": (-1, 2**64),
    "FP16": (70_000.0, "1"),
    "FP32": (1e39, True, 10**400),
    "FP64": ("11", True),
    "BOOL": (1, "true"),
    "BYTES": (11, True, 1.5),
}


@pytest.mark.parametrize(
    ("datatype", "value"), [(name, value) for name, values in UNFIT.items() for value in values]
)
def test_values_that_their_datatype_cannot_hold_are_400(
    client: TestClient, datatype: str, value: object
) -> None:
    inputs = tensors([ASKED] * 3)
    inputs[0] |= {"datatype": datatype, "data": [None, value, None]}
    said = v2_error(client.post(INFER, json={"inputs": inputs}), 400)
    assert "row 1, field 'month'" in said
    assert datatype in said
    assert "row 0" not in said


@pytest.mark.parametrize("datatype", ["fp64", "BF16", "STRING", "", None, 7])
def test_a_datatype_that_is_unknown_is_400(client: TestClient, datatype: Any) -> None:
    said = v2_error(client.post(INFER, json={"inputs": changed(datatype=datatype)}), 400)
    assert "inputs.0.datatype" in said


def test_values_are_those_that_their_datatype_holds(diabetes: TestClient) -> None:
    record = example(diabetes)
    name = "bmi"
    expected = of_one(diabetes, {**record, name: float(np.float32(0.1))})["prediction"]
    (changed,) = (each for each in tensors([record]) if each["name"] == name)
    others = [each for each in tensors([record]) if each["name"] != name]
    inputs = [*others, {**changed, "datatype": "FP32", "data": [0.1]}]
    body = diabetes.post("/v2/models/small/infer", json={"inputs": inputs}).json()
    assert body["outputs"][0]["data"] == [expected]


def test_no_rows_have_no_answers_in_tensors(client: TestClient) -> None:
    inputs = [{**each, "shape": [0], "data": []} for each in one_row()]
    body = client.post(INFER, json={"inputs": inputs}).json()
    assert [(each["shape"], each["data"]) for each in body["outputs"]] == [([0], [])] * 3


def changed(**changes: Any) -> list[dict[str, Any]]:
    """One row of tensors, in whose first some things differ."""
    first, *others = one_row()
    return [{**first, **changes}, *others]


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ([], "inputs"),
        (changed(shape=[2], data=[11, 11]), "one length"),
        ([*one_row(), one_row()[0]], "'month' appears twice"),
        (changed(data=[11, 11]), "'month'"),
        (changed(data=[]), "'month'"),
        (changed(data=[[11, 11]]), "'month'"),
        (changed(shape=[]), "'month'"),
        (changed(shape=[1, 2]), "'month'"),
        (changed(shape=[1, 1, 1]), "'month'"),
        (changed(shape=[2, 1], data=[[1, 2], []]), "row 0, field 'month'"),
        (changed(data=[[]]), "row 0, field 'month'"),
        (changed(data=[[[11]]]), "row 0, field 'month'"),
        (changed(data=[{"month": 11}]), "row 0, field 'month'"),
        (changed(shape=[1, 0], data=[[]]), "'month'"),
        (changed(shape=[-1]), "inputs.0.shape"),
        (changed(data=None), "'month'"),
        (changed(shape="1"), "inputs.0.shape"),
        (changed(data=11), "inputs.0.data"),
        (changed(name=None), "inputs.0.name"),
        ([{"name": "month"}], "inputs.0"),
        ({"month": [11]}, "inputs"),
    ],
)
def test_tensors_that_are_no_table_are_400(client: TestClient, inputs: Any, named: str) -> None:
    assert named in v2_error(client.post(INFER, json={"inputs": inputs}), 400)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "inputs"),
        ([], "dict"),
        ({"inputs": one_row(), "id": 7}, "id"),
        ({"inputs": one_row(), "outputs": [{"name": "certainty"}]}, "'certainty'"),
        ({"inputs": one_row(), "outputs": ["prediction"]}, "outputs"),
    ],
)
def test_requests_that_are_not_the_protocols_are_400(
    client: TestClient, content: Any, named: str
) -> None:
    assert named in v2_error(client.post(INFER, json=content), 400)


def test_all_faults_are_listed(client: TestClient) -> None:
    month, day, *others = one_row()
    inputs = [{**month, "shape": [1, 2]}, {**day, "datatype": "INT8", "data": [300]}, *others]
    content = {"inputs": [*inputs, others[0]], "outputs": [{"name": "a"}, {"name": "b"}]}
    listed = v2_error(client.post(INFER, json=content), 400).split("; ")
    found = ["'month'", "'day_of_week'", "'hour' appears twice", "'a'", "'b'"]
    assert all(name in fault for name, fault in zip(found, listed, strict=True)), listed
    malformed: dict[str, object] = {"id": 7, "inputs": [{}, month, 7], "outputs": "all"}
    said = v2_error(client.post(INFER, json=malformed), 400)
    assert all(each in said for each in ("id: ", "inputs.0.name: ", "inputs.2: ", "outputs: ")), (
        said
    )


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": [0] * 1000},
        {"inputs": changed(shape=[-1] * 1000)},
        {"inputs": one_row(), "outputs": [0] * 1000},
        {"inputs": one_row(), "outputs": [{"name": "certainty"}] * 1000},
        {"inputs": changed(shape=[1000], data=["x"] * 1000)},
        {"inputs": one_row() * 1000},
        {"inputs": tensors([{**ASKED, "month": 3.5, "hour": 3.5}] * 1000)},
    ],
)
def test_no_more_than_a_hundred_faults_are_listed(client: TestClient, content: object) -> None:
    response = client.post(INFER, json=content)
    assert 1 <= v2_error(response, response.status_code).count("; ") + 1 <= 101
    assert response.status_code in (400, 422)


def test_an_unknown_tensor_is_422_and_names_the_nearest(client: TestClient) -> None:
    inputs = [*one_row("dep_delay"), {**one_row()[-1], "name": "dep_dealy"}]
    said = v2_error(client.post(INFER, json={"inputs": inputs}), 422)
    assert "'dep_dealy'" in said
    assert "'dep_delay'" in said


def test_values_that_do_not_fit_are_422(client: TestClient) -> None:
    inputs = tensors([ASKED, {**ASKED, "month": 11.5, "hour": 4.5}])
    said = v2_error(client.post(INFER, json={"inputs": inputs}), 422)
    assert "2 faults" in said
    assert "row 1, field 'month'" in said
    assert "row 1, field 'hour'" in said
    v2_error(client.post(INFER, json={"inputs": changed(data=[None])}), 422)


def test_other_refusals_have_the_protocols_form_too(client: TestClient) -> None:
    v2_error(client.post(INFER, content=b"{", headers={"content-type": JSON}), 400)
    v2_error(ask_csv(client, f"{HEADER}\n{LINE}", INFER), 415)
    binary = {"content-type": "application/octet-stream"}
    v2_error(client.post(INFER, content=b"{}", headers=binary), 415)
    v2_error(client.get(INFER), 405)
    v2_error(client.post("/v2"), 405)
    v2_error(client.get("/v2/nowhere"), 404)


def test_a_regression_has_one_output(diabetes: TestClient) -> None:
    record = example(diabetes)
    about = diabetes.get("/v2/models/small").json()
    assert about["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
    body = diabetes.post("/v2/models/small/infer", json={"inputs": tensors([record])}).json()
    assert body["outputs"] == [
        {
            "name": "prediction",
            "shape": [1],
            "datatype": "FP64",
            "data": [of_one(diabetes, record)["prediction"]],
        }
    ]


@pytest.mark.parametrize(("model", "datatype"), [("iris", "BYTES"), ("wine", "INT64")])
def test_each_label_has_an_output(
    model: str, datatype: str, request: pytest.FixtureRequest
) -> None:
    client: TestClient = request.getfixturevalue(model)
    record = example(client)
    expected = of_one(client, record)
    body = client.post("/v2/models/small/infer", json={"inputs": tensors([record])}).json()
    first, *others = body["outputs"]
    assert (first["datatype"], first["data"]) == (datatype, [expected["prediction"]])
    shares = {each["name"].removeprefix("probability_"): each["data"] for each in others}
    assert shares == {name: [share] for name, share in expected["probabilities"].items()}
    assert type(first["data"][0]) is type(expected["prediction"])


BEHIND_KEYS = [("GET", "/v2"), ("GET", "/v2/models/flights"), ("GET", "/v2/models/flights/ready")]


@pytest.mark.parametrize(("method", "path"), [*BEHIND_KEYS, ("POST", INFER)])
def test_without_a_key_that_is_known_all_but_health_is_401(
    guarded: TestClient, client: TestClient, method: str, path: str
) -> None:
    content = {"inputs": one_row()} if method == "POST" else None
    for response in refusals(guarded, method, path, content):
        v2_error(response, 401)
    assert_a_key_changes_nothing_else(guarded, client, method, path, content)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_is_open(guarded: TestClient, overloaded: TestClient, path: str) -> None:
    assert_open(guarded, overloaded, path)


def test_a_body_that_is_too_large_is_refused(small_server: Server) -> None:
    assert "40,000 bytes" in assert_refused_unsent(small_server, INFER)["error"]
    assert_refused_before_its_end(small_server, INFER)


def test_more_rows_than_are_taken_are_refused(small_server: Server) -> None:
    before = rejected(small_server, "too_many_rows")
    status, body = small_server.post(INFER, {"inputs": tensors([ASKED] * 51)})
    assert (status, body.keys()) == (413, {"error"})
    assert rejected(small_server, "too_many_rows") == before + 1
