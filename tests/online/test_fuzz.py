"""Whatever is sent, the answer is one that the service's own documentation names."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TRIVET, Server, serving
from tests.online.asking import FLIGHT, KEYS, tensors
from trivet.model.artifact import Artifact
from trivet.online import protocols
from trivet.online.problems import MEDIA_TYPE

JSON, CSV = "application/json", "text/csv"
INFER = "/v2/models/flights/infer"
V1 = "/v1/models/flights:predict"
#: Those that take JSON alone, and whose errors are one text.
OF_KSERVE = (V1, INFER)
COLUMNS = {name: [value] for name, value in FLIGHT.items()}
TENSORS = tensors([FLIGHT])
DATATYPES = {tensor["name"]: tensor["datatype"] for tensor in TENSORS}
TABLE = ",".join(FLIGHT) + "\n" + ",".join(map(str, FLIGHT.values())) + "\n"
SPLIT = {"columns": list(FLIGHT), "data": [list(FLIGHT.values())]}
#: Requests that are answered: whose they are, path, media type and body.
ALL_VALID = [
    ("routes", "/predict", JSON, json.dumps(FLIGHT)),
    ("routes", "/predict", CSV, TABLE),
    ("mlflow", "/invocations", JSON, json.dumps({"dataframe_records": [FLIGHT]})),
    ("mlflow", "/invocations", JSON, json.dumps({"dataframe_split": SPLIT})),
    ("mlflow", "/invocations", JSON, json.dumps({"inputs": COLUMNS})),
    ("sagemaker", "/invocations", CSV, TABLE),
    ("v1", V1, JSON, json.dumps({"instances": [FLIGHT]})),
    ("v2", INFER, JSON, json.dumps({"id": "7", "inputs": TENSORS})),
]
HERE = {"routes", *(module.name for module in iter_modules(protocols.__path__))}
VALID: dict[str, list[tuple[str, str]]] = {}
for owner, path, media_type, body in ALL_VALID:
    if owner in HERE:
        VALID.setdefault(path, []).append((media_type, body))
#: The paths that take a body, as OpenAPI calls them.
PATHS = {path: path.replace("/flights", "/{model}") for path in VALID}
#: A busy machine is no reason to fail.
PATIENT: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)


def run_schemathesis(
    server: Server, version: str, folder: Path, *options: str, config: str = "", key: str = ""
) -> None:
    """Ask what is generated from the documentation, and find it answered as that says."""
    if key:
        config += f'[auth.openapi.header]\napi_key = "{key}"\n'
    known = f'"path.model" = "flights"\n"path.version" = "{version}"\n'
    (folder / "known.toml").write_text(f"{config}\n[parameters]\n{known}")
    page = urllib.request.Request(f"{server.url}/openapi.json", headers={"X-API-Key": key})
    document = server.ask(page)[1]
    command = [str(TRIVET.with_name("schemathesis")), "--config-file", "known.toml", "run"]
    (folder / "openapi.json").write_bytes(document)
    command += [
        "openapi.json",
        "--url",
        server.url,
        "--continue-on-failure",
        "--no-color",
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = json.loads(document)["paths"].values()
    assert f"Tested: {sum(map(len, paths))}" in done.stdout
    assert not [line for line in server.logs() if line["level"] == "error"]


@pytest.mark.slow
def test_what_is_generated_from_the_documentation_is_answered_as_documented(
    flights: Artifact, flights_store: Path, tmp_path: Path
) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path) as server:
        asked = ("--phases", "examples,coverage,fuzzing", "--max-examples", "20")
        version = flights.manifest.version
        run_schemathesis(server, version, tmp_path, "--checks", ",".join(CHECKS), *asked)


#: JSON Schema can't say that columns have one length, or what makes text a table.
INEXACT = """
hooks = "json_alone"
[[operations]]
include-path-regex = "/(infer|invocations)$"
checks.positive_data_acceptance.enabled = false
"""
JSON_ALONE = """
import schemathesis


@schemathesis.hook
def filter_case(context, case):
    return case.media_type != "text/csv"
"""


@pytest.mark.slow
@pytest.mark.parametrize("with_keys", [False, True])
def test_the_documentation_says_what_is_taken_and_what_is_not(
    flights: Artifact, flights_store: Path, tmp_path: Path, keys: Path, with_keys: bool
) -> None:
    (tmp_path / "json_alone.py").write_text(JSON_ALONE)
    options = ["--model", "flights", "--models-dir", str(flights_store)]
    options += ["--api-key-file", str(keys)] if with_keys else []
    with serving(*options, cwd=tmp_path) as server:
        asked = ("--max-examples", "50")  # and all checks
        key = KEYS[0] if with_keys else ""
        version = flights.manifest.version
        run_schemathesis(server, version, tmp_path, *asked, config=INEXACT, key=key)


#: JSON texts of values that writers of JSON write, and that no column holds.
ODD = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "1e308", "-0.0", "0.5"),
        *("9" * 19, "-" + "9" * 20, "9" * 400, "9" * 5000, "18446744073709551616", "01", "+1"),
        *("null", "true", "false", '""', '"\\ud800"', '"\\u0000"', '"9999-12-31T23:59:59-23:59"'),
        *("{}", "[]", "[[]]", '{"": null}', "[" * 500 + "]" * 500, "[" * 5000 + "]" * 5000),
        *('{"a":' * 900 + "1" + "}" * 900, '"' + "x" * 40_000 + '"'),
    ]
) | st.one_of(st.integers(), st.floats(), st.text(max_size=20)).map(json.dumps)
NAMES = st.sampled_from(
    [
        *(*FLIGHT, "wind_gust", "flight_id", "late", "instances", "parameters", "params"),
        *("inputs", "outputs", "id", "name", "shape", "datatype", "data", "columns", "index"),
        *("dataframe_split", "dataframe_records"),
    ]
) | st.text(max_size=10)


def an_object(members: list[tuple[str, str]]) -> str:
    """The JSON text of an object, which may have a key more than once."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members) + "}"


def a_list(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


#: JSON of any form, made of the words of all protocols.
ANY_JSON = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=4).map(a_list)
        | st.lists(st.tuples(NAMES, inner), max_size=6).map(an_object)
    ),
    max_leaves=20,
)
#: Members of a record that come after, and so before, those of a valid one.
ODD_MEMBERS = st.lists(st.tuples(NAMES, ODD), min_size=1, max_size=3)


def with_members(members: list[tuple[str, str]]) -> str:
    """A valid record, with members that are odd beside its own or in place of them."""
    odd = dict(members)
    valid = [(name, json.dumps(value)) for name, value in FLIGHT.items() if name not in odd]
    return an_object([*valid, *members])


def ask(client: TestClient, path: str, body: bytes, media_type: str | None, accept: str) -> Any:
    headers = {b"accept": accept.encode()}
    if media_type:
        headers[b"content-type"] = media_type.encode("latin-1")
    return client.post(path, content=body, headers=headers)


@pytest.fixture(scope="module")
def is_documented(client: TestClient) -> Callable[[str, Any], bool]:
    """Says whether a response has a status of its path's, and the form that belongs to it."""
    paths = client.get("/openapi.json").json()["paths"]
    statuses = {path: paths[name]["post"]["responses"].keys() for path, name in PATHS.items()}

    def check(path: str, response: Any) -> bool:
        status = response.status_code
        assert str(status) in statuses[path], response.text
        assert status < 500, response.text
        kind = response.headers["content-type"].partition(";")[0]
        if status == 200 and kind == CSV:
            return path not in OF_KSERVE
        content: dict[str, Any] = response.json()
        if status == 200:
            assert kind == JSON
            return ("outputs" if path == INFER else "predictions") in content
        if path in OF_KSERVE:
            assert kind == JSON
            return content.keys() == {"error"} and content["error"] != ""
        assert kind == MEDIA_TYPE
        assert content.keys() <= {"type", "title", "status", "detail", "errors"}
        return (content["status"], content["detail"] != "") == (status, True)

    return check


@pytest.fixture(scope="module")
def as_before(client: TestClient) -> Callable[[str], bool]:
    """Says whether a path answers its valid requests as it did at first."""

    def answers(path: str) -> list[tuple[int, bytes]]:
        responses = [ask(client, path, body.encode(), kind, "*/*") for kind, body in VALID[path]]
        return [(response.status_code, response.content) for response in responses]

    before = {path: answers(path) for path in PATHS}
    assert all(status == 200 for each in before.values() for status, _ in each)
    return lambda path: answers(path) == before[path]


PATH = st.sampled_from(list(PATHS))
MEDIA_TYPES = st.sampled_from([JSON, JSON, CSV, None, "application/x+json", "text/html", "\xff;="])
ACCEPTS = st.sampled_from(["*/*", JSON, CSV])
Check = Callable[[str, Any], bool]
AsBefore = Callable[[str], bool]


@given(PATH, st.binary(max_size=2_000), MEDIA_TYPES, ACCEPTS)
@settings(max_examples=300, **PATIENT)
def test_any_bytes(
    client: TestClient,
    is_documented: Check,
    as_before: AsBefore,
    path: str,
    body: bytes,
    media_type: str | None,
    accept: str,
) -> None:
    assert is_documented(path, ask(client, path, body, media_type, accept))
    assert as_before(path)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("media_type", [CSV, None])
@pytest.mark.parametrize("accept", [CSV, JSON])
def test_no_bytes(
    client: TestClient, is_documented: Check, path: str, media_type: str | None, accept: str
) -> None:
    assert is_documented(path, ask(client, path, b"", media_type, accept))


@given(PATH, ANY_JSON, ACCEPTS)
@settings(max_examples=200, **PATIENT)
def test_any_json(
    client: TestClient, is_documented: Check, as_before: AsBefore, path: str, text: str, accept: str
) -> None:
    assert is_documented(path, ask(client, path, text.encode(), JSON, accept))
    assert as_before(path)


@given(PATH, st.lists(ODD_MEMBERS, min_size=1, max_size=3), ACCEPTS, st.data())
@settings(max_examples=200, **PATIENT)
def test_odd_values_in_records(
    client: TestClient,
    is_documented: Check,
    as_before: AsBefore,
    path: str,
    rows: list[list[tuple[str, str]]],
    accept: str,
    data: st.DataObject,
) -> None:
    records = [with_members(members) for members in rows]
    forms = ["instances", "dataframe_records", "inputs"]
    text = f'{{"{data.draw(st.sampled_from(forms))}": {a_list(records)}}}'
    if path == INFER:
        columns = {**{name: json.dumps(value) for name, value in FLIGHT.items()}, **dict(rows[0])}
        inputs = [
            f'{{"name":{json.dumps(name)},"shape":[1],"data":[{value}],'
            f'"datatype":"{DATATYPES.get(name, "BYTES")}"}}'
            for name, value in columns.items()
        ]
        text = f'{{"inputs": {a_list(inputs)}}}'
    response = ask(client, path, text.encode(), JSON, accept)
    assert is_documented(path, response)
    assert response.status_code in (200, 400, 422)
    assert as_before(path)


@given(
    st.sampled_from([path for path in PATHS if path not in OF_KSERVE]),
    st.lists(st.lists(ODD | st.text(max_size=9), max_size=12), max_size=4),
    st.sampled_from([TABLE, ",".join(FLIGHT) + "\n", ""]),
    ACCEPTS,
)
@settings(max_examples=200, **PATIENT)
def test_odd_cells_in_tables(
    client: TestClient,
    is_documented: Check,
    as_before: AsBefore,
    path: str,
    lines: list[list[str]],
    start: str,
    accept: str,
) -> None:
    body = start + "\n".join(",".join(cells) for cells in lines)
    response = ask(client, path, body.encode(errors="replace"), CSV, accept)
    assert is_documented(path, response)
    assert response.status_code in (200, 400, 422)
    assert as_before(path)


@given(PATH, st.data(), ACCEPTS)
@settings(max_examples=300, **PATIENT)
def test_valid_requests_with_some_bytes_changed(
    client: TestClient,
    is_documented: Check,
    as_before: AsBefore,
    path: str,
    data: st.DataObject,
    accept: str,
) -> None:
    media_type, text = data.draw(st.sampled_from(VALID[path]))
    body = text.encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        gone = data.draw(st.integers(0, 8))
        new = data.draw(st.binary(max_size=4) | ODD.map(str.encode))
        body = body[:at] + new + body[at + gone :]
    assert is_documented(path, ask(client, path, body, media_type, accept))
    assert as_before(path)
