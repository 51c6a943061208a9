"""Other ways to ask than by JSON records: CSV, the platforms' protocols, with keys, from afar."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from sklearn.datasets import load_diabetes, load_iris, load_wine

import trivet
from tests.conftest import NOVEMBER, Server, read_csv, ready_client, run_trivet, serving, wait_until
from tests.docs.test_readme import ONLINE, URL, without_varying
from tests.online.test_routes import FLIGHT, problem
from tests.test_same_answers import as_json
from tests.train.test_other_tables import saved
from trivet.errors import SettingsError
from trivet.model.artifact import Artifact
from trivet.online.inference import LARGE
from trivet.online.protocols.v2 import InferRequest
from trivet.online.settings import ServeSettings
from trivet.rows.contract import Kind
from trivet.train.run import train
from trivet.train.settings import TrainSettings

JSON, CSV = "application/json", "text/csv"
INFER = "/v2/models/flights/infer"
HEADER = "month,day_of_week,hour,carrier,origin,dest,distance,dep_delay"
LINE = "11,5,17,UA,EWR,ORD,719,64"
ASKED = dict(zip(HEADER.split(","), [11, 5, 17, "UA", "EWR", "ORD", 719, 64], strict=True))
ROWS = 300
KEYS = ("correct-horse-battery", "staple-0123456789-abcdef")
SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


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


@pytest.fixture(scope="module")
def november(flights: Artifact) -> list[dict[str, Any]]:
    """Records of real flights, with missing values and carriers that training did not see."""
    columns = flights.manifest.contract.columns
    return [
        {column.name: as_json(column, flight[column.name]) for column in columns}
        for flight in read_csv(NOVEMBER)[:ROWS]
    ]


@pytest.fixture(scope="module")
def answers(client: TestClient, november: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What /predict answers to these flights."""
    response = client.post("/predict", json={"instances": november})
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


def serve_small(table: Path, estimator: str) -> Iterator[TestClient]:
    models_dir = table.with_name("models")
    settings = TrainSettings(
        table, "target", model="small", estimator=estimator, models_dir=models_dir
    )
    train(settings)
    with ready_client(ServeSettings("small", models_dir=models_dir)) as client:
        yield client


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A regression."""
    folder = tmp_path_factory.mktemp("diabetes")
    table = saved(load_diabetes(as_frame=True, scaled=False), folder / "diabetes.csv")
    yield from serve_small(table, "ridge")


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A classification with three labels, which are text."""
    names = ["setosa", "versicolor, or blue", "virginica"]
    folder = tmp_path_factory.mktemp("iris")
    yield from serve_small(saved(load_iris(as_frame=True), folder / "iris.csv", names), "logistic")


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A classification with three labels, which are numbers."""
    folder = tmp_path_factory.mktemp("wine")
    yield from serve_small(saved(load_wine(as_frame=True), folder / "wine.csv"), "logistic")


def example(client: TestClient) -> dict[str, Any]:
    record: dict[str, Any] = client.get("/model").json()["contract"]["example"]
    return record


# CSV on /predict


def test_the_example_of_the_documentation_gives_the_output_shown(
    flights_store: Path, tmp_path: Path
) -> None:
    (block,) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", ONLINE, re.DOTALL)
    command, shown = block
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path) as server:
        printed = subprocess.run(
            ["bash", "-c", command.replace(URL, server.url)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert without_varying(printed) == without_varying(shown)


def test_a_table_is_answered_as_its_records_are(
    client: TestClient, answers: list[dict[str, Any]]
) -> None:
    lines = NOVEMBER.read_text().splitlines()[: ROWS + 1]  # the identifier and the target, too
    response = ask_csv(client, "\n".join(lines))
    assert response.headers["content-type"] == JSON
    assert response.json()["predictions"] == answers


def test_a_table_is_answered_with_a_table_where_one_is_asked_for(
    client: TestClient, answers: list[dict[str, Any]]
) -> None:
    lines = NOVEMBER.read_text().splitlines()[: ROWS + 1]
    response = ask_csv(client, "\n".join(lines), accept=f"{CSV}, */*;q=0.1")
    assert response.headers["content-type"].partition(";")[0] == CSV
    header, *rows = response.text.splitlines()
    assert header == "prediction,probability_false,probability_true"
    expected = [
        ",".join((str(each["prediction"]).lower(), *map(repr, each["probabilities"].values())))
        for each in answers
    ]
    assert rows == expected


def test_records_are_answered_with_a_table_where_one_is_asked_for(client: TestClient) -> None:
    response = ask_json(client, "/predict", ASKED, accept=CSV)
    assert response.text == ask_csv(client, f"{HEADER}\n{LINE}\n", accept=CSV).text


@pytest.mark.parametrize(
    "accept", ["*/*", "", "application/json", "application/json, text/csv", "text/html"]
)
def test_a_table_is_answered_with_json_otherwise(client: TestClient, accept: str) -> None:
    response = ask_csv(client, f"{HEADER}\n{LINE}\n", accept=accept)
    assert response.json()["predictions"] == [of_one(client)]


@pytest.mark.parametrize(
    "body",
    [
        f"{HEADER}\n{LINE}",
        f"{HEADER}\r\n{LINE}\r\n",
        f"\ufeff{HEADER}\n{LINE}\n",
        f"{HEADER}\n\n{LINE}\n\n",
        f'"month",{HEADER.removeprefix("month,")}\n{LINE.replace("UA", chr(34) + "UA" + chr(34))}',
        ",".join(reversed(HEADER.split(","))) + "\n" + ",".join(reversed(LINE.split(","))),
        f"flight_id,{HEADER},late,time_hour\nUA-1,{LINE},maybe,never\n",
        f"{HEADER},wind_gust,visib\n{LINE},,\n",
        f"{HEADER},wind_gust,visib\n{LINE},NA,null\n",
        f"{HEADER}\n{LINE.replace('11', ' 11.0 ')}\n",
    ],
    ids=[
        *("no-last-newline", "crlf", "bom", "blank-lines", "quoted", "other-order"),
        *("identifier-and-ignored", "empty-cells", "missing-words", "spaces-around-numbers"),
    ],
)
def test_tables_that_mean_the_same(client: TestClient, body: str) -> None:
    assert ask_csv(client, body).json()["predictions"] == [of_one(client)]


def test_quoted_commas_and_line_ends_stay_in_their_cell(client: TestClient) -> None:
    for carrier in ("U,A", "U\nA", 'U"A'):
        quoted = '"' + carrier.replace('"', '""') + '"'
        response = ask_csv(client, f"{HEADER}\n{LINE.replace('UA', quoted)}\n")
        expected = of_one(client, {**ASKED, "carrier": carrier})
        assert response.json()["predictions"] == [expected], carrier


@pytest.mark.parametrize("media_type", ["text/csv; charset=utf-8", "TEXT/CSV"])
def test_a_table_by_other_names_is_taken(client: TestClient, media_type: str) -> None:
    headers = {"content-type": media_type}
    response = client.post("/predict", content=f"{HEADER}\n{LINE}", headers=headers)
    assert response.json()["predictions"] == [of_one(client)]


def test_a_header_alone_has_no_answers(client: TestClient) -> None:
    assert ask_csv(client, HEADER).json()["predictions"] == []
    table = ask_csv(client, HEADER, accept=CSV)
    assert table.text == "prediction,probability_false,probability_true\n"


@pytest.mark.parametrize("body", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_table_is_400(client: TestClient, body: bytes) -> None:
    assert "empty" in problem(ask_csv(client, body), 400)["detail"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_that_is_not_utf_8_is_400(client: TestClient, encoding: str) -> None:
    body = f"{HEADER}\n{LINE.replace('UA', 'ÜÄ')}".encode(encoding)
    assert "UTF-8" in problem(ask_csv(client, body), 400)["detail"]


def test_a_cell_may_be_of_any_length(client: TestClient) -> None:
    header, cells = HEADER.split(","), LINE.split(",")
    cells[header.index("carrier")] = "x" * 200_000
    assert ask_csv(client, f"{HEADER}\n{','.join(cells)}\n").status_code == 200


def test_lines_with_other_than_the_headers_cells_are_each_a_fault(client: TestClient) -> None:
    body = f"{HEADER}\n{LINE}\n11,5\n{LINE}\n{LINE},1\n"
    assert faults(ask_csv(client, body)) == [(1, None, "not_a_record"), (3, None, "not_a_record")]


def test_lines_that_do_not_fit_are_listed_up_to_a_hundred(client: TestClient) -> None:
    assert len(faults(ask_csv(client, HEADER + "\n11,5" * 5000))) == 100


def test_no_more_of_a_table_is_read_than_is_taken(client: TestClient) -> None:
    bad = "x" * 200_000  # which would be 400, as no cell may be so long
    lines = [LINE] * (ServeSettings.max_rows + 1)
    assert "10,000" in problem(ask_csv(client, "\n".join([HEADER, *lines, bad])), 413)["detail"]


def test_a_header_of_very_many_columns_is_looked_through_once(client: TestClient) -> None:
    response = ask_csv(client, "," * 200_000)
    assert faults(response) == [(None, "", "unknown_field")]


def test_a_column_that_is_there_twice_is_a_fault(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER},month\n{LINE},11\n")
    assert faults(response) == [(None, "month", "unknown_field")]
    assert "once" in response.json()["errors"][0]["expected"]


def test_an_unknown_column_is_a_fault_of_every_row(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER.replace('dep_delay', 'dep_dealy')}\n{LINE}\n{LINE}\n")
    unknown, missing = (0, "dep_dealy", "unknown_field"), (0, "dep_delay", "missing")
    assert faults(response)[:2] == [unknown, missing]
    assert response.json()["errors"][0]["nearest"] == "dep_delay"
    assert {row for row, _, _ in faults(response)} == {0, 1}


def test_cells_that_do_not_fit_are_all_listed(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER}\nMay,5,1_7,UA,EWR,ORD,1e999,\n")
    assert faults(response) == [
        (0, "month", "type"),
        (0, "hour", "type"),
        (0, "distance", "not_finite"),
        (0, "dep_delay", "missing"),
    ]


def test_a_regression_answers_with_one_column(diabetes: TestClient) -> None:
    record = example(diabetes)
    table = f"{','.join(record)}\n{','.join(map(str, record.values()))}\n"
    number = of_one(diabetes, record)["prediction"]
    assert ask_csv(diabetes, table, accept=CSV).text == f"prediction\n{number!r}\n"


def test_labels_with_commas_are_quoted(iris: TestClient) -> None:
    header = ask_json(iris, "/predict", {"instances": []}, accept=CSV).text
    expected = 'prediction,probability_setosa,"probability_versicolor, or blue",'
    assert header == expected + "probability_virginica\n"


# The Open Inference Protocol


def tensors(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": [len(records)],
            "datatype": "FP64",
            "data": [each[name] for each in records],
        }
        for name in records[0]
    ]


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
    expected = {"name": "trivet", "version": trivet.__version__, "extensions": []}
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
        assert "no mine here: this service answers with flights" in said


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
        body = client.post(path, json={"inputs": tensors(november)}).json()
        assert body.keys() == {"model_name", "model_version", "outputs"}
        assert (body["model_name"], body["model_version"]) == ("flights", version)
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
    inputs = [{**each, "parameters": {"content_type": "np"}} for each in one_row()]
    content = {"inputs": inputs, "parameters": {"priority": 1}}
    assert client.post(INFER, json=content).status_code == 200


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
        ([*one_row(), one_row()[0]], "'month' is there twice"),
        (changed(data=[11, 11]), "'month'"),
        (changed(data=[]), "'month'"),
        (changed(data=[[11, 11]]), "'month'"),
        (changed(shape=[]), "'month'"),
        (changed(shape=[1, 2]), "'month'"),
        (changed(shape=[1, 1, 1]), "'month'"),
        (changed(shape=[-1]), "inputs.0.shape"),
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


@pytest.mark.parametrize(
    "content",
    [
        {"inputs": [0] * 1000},
        {"inputs": changed(shape=[-1] * 1000)},
        {"inputs": [], "outputs": [0] * 1000},
    ],
)
def test_of_a_list_no_more_than_the_first_fault_is_looked_for(content: object) -> None:
    with pytest.raises(ValidationError) as raised:
        InferRequest.model_validate(content)
    assert raised.value.error_count() == 1


def test_an_unknown_tensor_is_422_and_names_the_nearest(client: TestClient) -> None:
    inputs = [*one_row("dep_delay"), {**one_row()[-1], "name": "dep_dealy"}]
    said = v2_error(client.post(INFER, json={"inputs": inputs}), 422)
    assert "'dep_dealy'" in said
    assert "'dep_delay'" in said


def test_values_that_do_not_fit_are_422(client: TestClient) -> None:
    inputs = tensors([ASKED, {**ASKED, "month": "November"}])
    said = v2_error(client.post(INFER, json={"inputs": inputs}), 422)
    assert "row 1, field 'month'" in said
    v2_error(client.post(INFER, json={"inputs": changed(data=[None])}), 422)


def test_other_refusals_have_the_protocols_form_too(client: TestClient) -> None:
    v2_error(client.post(INFER, content=b"{", headers={"content-type": JSON}), 400)
    v2_error(ask_csv(client, f"{HEADER}\n{LINE}", INFER), 415)
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": "2"}
    v2_error(client.post(INFER, content=b"{}\0", headers=binary), 415)
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


# /invocations


def table_of(records: list[dict[str, Any]], names: list[str], header: bool) -> str:
    """A table as SageMaker sends it: the cells of these columns, with or without their names."""
    lines = [
        ",".join("" if each.get(n) is None else str(each[n]) for n in names) for each in records
    ]
    return "".join(f"{line}\n" for line in ([",".join(names)] if header else []) + lines)


def test_ping_answers_as_health_does(client: TestClient) -> None:
    assert client.get("/ping").json() == client.get("/health/ready").json()


def test_invocations_take_the_json_of_predict(client: TestClient) -> None:
    contents: list[object] = [ASKED, {"instances": [ASKED, FLIGHT]}, {"instances": []}]
    for content in contents:
        expected = client.post("/predict", json=content).json()
        assert client.post("/invocations", json=content).json() == expected


@pytest.mark.parametrize("header", [True, False])
def test_each_line_of_a_table_has_a_line_of_answers(
    client: TestClient,
    flights: Artifact,
    november: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    header: bool,
) -> None:
    names = list(flights.manifest.contract.feature_names)
    response = ask_csv(client, table_of(november, names, header), "/invocations", accept="*/*")
    assert response.headers["content-type"].partition(";")[0] == CSV
    assert response.text.splitlines() == [
        ",".join((str(each["prediction"]).lower(), *map(repr, each["probabilities"].values())))
        for each in answers
    ]
    assert response.text.endswith("\n")


def test_a_table_with_a_header_may_have_other_columns_in_any_order(client: TestClient) -> None:
    expected = ask_csv(client, f"{HEADER}\n{LINE}", "/invocations", accept=CSV).text
    body = (
        f"\ufefflate,dep_delay,{HEADER.removesuffix(',dep_delay')}\n,64,{LINE.removesuffix(',64')}"
    )
    assert ask_csv(client, body, "/invocations", accept=CSV).text == expected


def test_a_table_is_answered_in_json_where_that_is_asked_for(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER}\n{LINE}", "/invocations", accept=JSON)
    assert response.json() == client.post("/predict", json=ASKED).json()


def test_invocations_answer_json_with_a_table_where_one_is_asked_for(client: TestClient) -> None:
    expected = ask_csv(client, f"{HEADER}\n{LINE}", "/invocations", accept=CSV)
    for content in (ASKED, {"instances": [ASKED]}, {"dataframe_records": [ASKED]}):
        response = ask_json(client, "/invocations", content, accept=CSV)
        assert response.headers["content-type"] == expected.headers["content-type"]
        assert response.text == expected.text


def test_lines_that_do_not_fit_count_from_0_with_and_without_a_header(
    client: TestClient, flights: Artifact
) -> None:
    names = list(flights.manifest.contract.feature_names)
    records = [ASKED, {**ASKED, "month": "May"}]
    for header in (True, False):
        response = ask_csv(client, table_of(records, names, header), "/invocations")
        assert faults(response) == [(1, "month", "type")]
    assert faults(ask_csv(client, f"{LINE}\n{LINE},1\n", "/invocations"))[0][0] == 0


@pytest.mark.parametrize("body", [b"", b"\n", b"\xff"])
def test_a_table_of_nothing_is_400_at_invocations_too(client: TestClient, body: bytes) -> None:
    problem(ask_csv(client, body, "/invocations"), 400)


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
    client: TestClient, november: list[dict[str, Any]], answers: list[dict[str, Any]], form: str
) -> None:
    response = ask_json(client, "/invocations", {form: mlflow_forms(november)[form]})
    assert response.headers["content-type"] == JSON
    assert response.json() == {"predictions": [each["prediction"] for each in answers]}


def test_mlflows_inputs_may_be_records(client: TestClient) -> None:
    response = client.post("/invocations", json={"inputs": [ASKED, FLIGHT]})
    assert response.json() == {"predictions": [True, False]}


def test_a_split_table_may_have_an_index(client: TestClient) -> None:
    split = {"index": [7], "columns": list(ASKED), "data": [list(ASKED.values())]}
    response = client.post("/invocations", json={"dataframe_split": split})
    assert response.json() == {"predictions": [True]}


@pytest.mark.parametrize("params", [None, {}])
def test_empty_params_are_let_pass(client: TestClient, params: object) -> None:
    content = {"dataframe_records": [ASKED], "params": params}
    assert client.post("/invocations", json=content).json() == {"predictions": [True]}


@pytest.mark.parametrize("other", ["params", "signature_name", "instances"])
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
def test_other_models_are_invoked_alike(model: str, request: pytest.FixtureRequest) -> None:
    client: TestClient = request.getfixturevalue(model)
    record = example(client)
    expected = of_one(client, record)
    for form, value in mlflow_forms([record]).items():
        response = client.post("/invocations", json={form: value})
        assert response.json() == {"predictions": [expected["prediction"]]}, form
    line = table_of([record], list(record), header=False)
    printed = ask_csv(client, line, "/invocations", accept=CSV).text.splitlines()
    first, *shares = printed[0].split(",")
    assert len(printed) == 1
    assert first == str(expected["prediction"])
    assert [float(share) for share in shares] == [*expected.get("probabilities", {}).values()]


def test_sagemakers_environment_is_heeded(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(flights_store / "flights", tmp_path / "opt/ml/model/flights")
    monkeypatch.setenv("TRIVET_SERVE_MODEL", "flights")
    monkeypatch.setenv("TRIVET_SERVE_MODELS_DIR", str(tmp_path / "opt/ml/model"))
    with serving(cwd=tmp_path, port_from="TRIVET_SERVE_PORT") as server:
        assert server.get("/ping")[0] == 200
        assert server.post("/invocations", {"inputs": [ASKED]}) == (200, {"predictions": [True]})


# Vertex AI


def test_vertex_ai_chooses_port_and_routes(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = "/v1/endpoints/7/deployedModels/9"
    monkeypatch.setenv("AIP_HEALTH_ROUTE", route)
    monkeypatch.setenv("AIP_PREDICT_ROUTE", f"{route}:predict")
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path, port_from="AIP_HTTP_PORT") as server:
        assert server.get(route) == server.get("/health/ready")
        assert server.get(route)[0] == 200
        expected = server.post("/predict", {"instances": [ASKED]})
        assert expected[0] == 200
        for parameters in ("null", "{}"):
            content = {"instances": [ASKED], "parameters": json.loads(parameters)}
            assert server.post(f"{route}:predict", content) == expected
        status, body = server.post(f"{route}:predict", {"instances": [], "parameters": {"a": 1}})
        assert (status, body["errors"][0]["field"]) == (422, "parameters")
        assert f"{route}:predict".encode() in server.get("/openapi.json")[1]


@pytest.mark.parametrize("route", ["", "predict", "/models/{model}", "http://here/predict"])
def test_a_route_that_is_no_path_is_refused(route: str) -> None:
    with pytest.raises(SettingsError, match="--predict-route"):
        ServeSettings(predict_route=route)
    with pytest.raises(SettingsError, match="--health-route"):
        ServeSettings(health_route=route)


# Keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(KEYS) + "\n")
    return path


@pytest.fixture(scope="module")
def guarded(flights_store: Path, keys: Path) -> Iterator[TestClient]:
    """A client, without a key, of a service that asks for one."""
    settings = ServeSettings(
        "flights",
        models_dir=flights_store,
        api_key_file=keys,
        health_route="/probe",
        predict_route="/probe",
    )
    with ready_client(settings) as client:
        yield client


OPEN = (
    *("/health", "/health/live", "/health/ready", "/ping", "/v2/health/live", "/v2/health/ready"),
    "/probe",
)
BEHIND_KEYS = [
    *(("GET", "/"), ("GET", "/model"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nowhere")),
    *(("GET", "/openapi.json"), ("GET", "/docs/assets/swagger-ui.css"), ("GET", "/predict")),
    *(("GET", "/v2"), ("GET", "/v2/models/flights"), ("GET", "/v2/models/flights/ready")),
    *(("POST", "/predict"), ("POST", "/invocations"), ("POST", INFER), ("POST", "/probe")),
]
WITHOUT = [
    {},
    {"authorization": "Bearer wrong-key-of-some-length"},
    {"x-api-key": "wrong-key-of-some-length"},
    {"authorization": f"Bearer {KEYS[0][:-1]}"},
    {"authorization": f"Bearer {KEYS[0]}{KEYS[1]}"},
    {"authorization": f"Basic {KEYS[0]}"},
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
]


def asked_of(path: str, method: str) -> object:
    if method == "GET":
        return None
    return {"inputs": one_row()} if path == INFER else ASKED


@pytest.mark.parametrize(("method", "path"), BEHIND_KEYS)
def test_without_a_key_that_is_known_all_but_health_is_401(
    guarded: TestClient, method: str, path: str
) -> None:
    for headers in WITHOUT:
        response = guarded.request(method, path, json=asked_of(path, method), headers=headers)
        assert response.status_code == 401, headers
        assert response.headers["www-authenticate"] == "Bearer"
        said = v2_error(response, 401) if path[:3] == "/v2" else problem(response, 401)["detail"]
        assert "Authorization: Bearer KEY" in said
        assert not any(key in response.text for key in KEYS)


@pytest.mark.parametrize("headers", WITH)
def test_with_a_key_by_either_header_all_is_as_without_keys(
    guarded: TestClient, client: TestClient, headers: dict[str, str]
) -> None:
    for method, path in BEHIND_KEYS:
        if path in ("/probe", "/metrics", "/openapi.json"):  # which differ, but not by the key
            continue
        content = asked_of(path, method)
        expected = client.request(method, path, json=content)
        response = guarded.request(method, path, json=content, headers=headers)
        assert (response.status_code, response.content) == (
            expected.status_code,
            expected.content,
        ), path
    assert guarded.get("/metrics", headers=headers).status_code == 200
    assert guarded.post("/probe", json=ASKED, headers=headers).status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_health_needs_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200
    assert guarded.get(path, headers={"x-api-key": "wrong"}).status_code == 200
    assert guarded.head(path).status_code == 200


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
    assert ServeSettings(api_key_file=path).api_keys == tuple(key.encode() for key in KEYS)


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
        ServeSettings(api_key_file=path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "short" not in str(raised.value)


def test_the_service_does_not_start_without_its_keys(flights_store: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("short")
    options = ("--model", "flights", "--models-dir", str(flights_store), "--port", "0")
    result = run_trivet("serve", *options, "--api-key-file", "keys", cwd=tmp_path)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "openssl rand" in result.stderr


# What every answer carries


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "200": ("POST", "/predict", {"json": ASKED}),
    "200-csv": ("POST", "/predict", {"json": ASKED, "headers": {"accept": CSV}}),
    "200-health": ("GET", "/health/live", {}),
    "200-metrics": ("GET", "/metrics", {}),
    "200-head": ("HEAD", "/", {}),
    "200-asset": ("GET", "/docs/assets/swagger-ui.css", {}),
    "200-schema": ("GET", "/openapi.json", {}),
    "200-v2": ("POST", INFER, {"json": {"inputs": one_row()}}),
    "400": ("POST", "/predict", {"content": b"{"}),
    "400-v2": ("POST", INFER, {"json": {}}),
    "404": ("GET", "/nowhere", {}),
    "404-v2": ("GET", "/v2/models/mine", {}),
    "405": ("GET", "/invocations", {}),
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


# Limits, of a real server


@pytest.fixture(scope="module")
def small_server(flights_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that takes no more than 40,000 bytes, nor 50 records."""
    options = ("--model", "flights", "--models-dir", str(flights_store), "--access-log")
    limits = ("--max-body", "40000", "--max-rows", "50")
    with serving(*options, *limits, cwd=tmp_path_factory.mktemp("small")) as server:
        yield server


def raw(server: Server, *sent: bytes) -> tuple[int, dict[str, str], Any]:
    """What comes of these bytes: status, headers and JSON of one answer."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as caller:
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


@pytest.mark.parametrize("path", ["/predict", "/invocations", INFER])
def test_a_body_that_says_it_is_too_large_is_refused_unsent(
    small_server: Server, path: str
) -> None:
    before = rejected(small_server, "body_too_large")
    status, headers, body = raw(small_server, head(path, "Content-Length: 40001"))
    assert status == 413
    assert SECURITY.items() <= headers.items()
    assert "server" not in headers
    said = body["error"] if path == INFER else body["detail"]
    assert "40,000 bytes" in said
    assert rejected(small_server, "body_too_large") == before + 1


@pytest.mark.parametrize("path", ["/predict", "/invocations", INFER])
def test_a_body_that_turns_out_too_large_is_refused_before_its_end(
    small_server: Server, path: str
) -> None:
    before = rejected(small_server, "body_too_large")
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    sent = (head(path, "Transfer-Encoding: chunked"), *[chunk] * 10)  # and no end
    assert raw(small_server, *sent)[0] == 413
    assert rejected(small_server, "body_too_large") == before + 1


def test_a_body_of_just_the_size_is_taken(small_server: Server) -> None:
    body = json.dumps(ASKED).encode().ljust(40_000)
    assert len(body) > LARGE
    length = head("/predict", "Content-Length: 40000")
    assert raw(small_server, length, body)[0] == 200


def test_more_records_than_are_taken_are_refused(small_server: Server) -> None:
    before = rejected(small_server, "too_many_rows")
    for content, path in (
        ({"instances": [ASKED] * 51}, "/predict"),
        ({"dataframe_records": [ASKED] * 51}, "/invocations"),
    ):
        status, body = small_server.post(path, content)
        assert (status, body["title"]) == (413, "Content Too Large")
        assert "50 records" in body["detail"]
    status, body = small_server.post(INFER, {"inputs": tensors([ASKED] * 51)})
    assert (status, body.keys()) == (413, {"error"})
    assert small_server.post("/predict", {"instances": [ASKED] * 50})[0] == 200
    assert rejected(small_server, "too_many_rows") == before + 3


def test_a_table_of_too_many_lines_is_refused(small_server: Server) -> None:
    for path in ("/predict", "/invocations"):
        request = urllib.request.Request(
            small_server.url + path,
            data="\n".join([HEADER, *[LINE] * 51]).encode(),
            headers={"Content-Type": CSV},
        )
        assert small_server.ask(request)[0] == 413


def test_a_server_does_not_name_its_software(small_server: Server) -> None:
    for lines in (("Content-Length: 2",), ("Content-Length: 2", "Content-Type: text/html")):
        status, headers, _ = raw(small_server, head("/predict", *lines), b"{}")
        assert status in (415, 422)
        assert "server" not in headers
        assert SECURITY.items() <= headers.items()


def test_a_request_id_is_in_the_log(small_server: Server) -> None:
    length = ("Content-Length: 2", "X-Request-ID: ours-7")
    assert raw(small_server, head("/predict", *length), b"{}")[1]["x-request-id"] == "ours-7"
    wait_until(lambda: "ours-7" in {line.get("request_id") for line in small_server.logs()})
    (line,) = [each for each in small_server.logs() if each.get("request_id") == "ours-7"]
    assert (line["path"], line["status"]) == ("/predict", 422)
