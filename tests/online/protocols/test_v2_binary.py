"""The Open Inference Protocol's extension for binary data, byte by byte and with its clients."""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.conftest import serving
from tests.online.asking import ASKED, FLIGHT, example, of_one, tensors
from trivet.model.artifact import Artifact

INFER = "/v2/models/flights/infer"
OCTETS, LENGTH = "application/octet-stream", "inference-header-content-length"
DTYPES = {"INT64": "<i8", "FP64": "<f8", "BOOL": "?"}


def texts(values: Sequence[str | bytes]) -> bytes:
    """Texts as the extension writes them."""
    encoded = [value if isinstance(value, bytes) else value.encode() for value in values]
    return b"".join(len(each).to_bytes(4, "little") + each for each in encoded)


def in_binary(tensor: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A tensor without its data, and its data."""
    data, datatype = tensor["data"], tensor["datatype"]
    if datatype == "BYTES":
        content = texts([each or "" for each in data])
    else:
        content = np.array(data, DTYPES[datatype]).tobytes()
    about = {name: value for name, value in tensor.items() if name != "data"}
    return about | {"parameters": {"binary_data_size": len(content)}}, content


def body_of(inputs: Sequence[tuple[Mapping[str, Any], bytes]], **others: Any) -> tuple[bytes, int]:
    """A body, and the length of the JSON that it starts with."""
    content = json.dumps({"inputs": [about for about, _ in inputs], **others}).encode()
    return content + b"".join(data for _, data in inputs), len(content)


def ask(client: TestClient, body: bytes, length: object, path: str = INFER) -> Any:
    headers = {"content-type": OCTETS, LENGTH: str(length)}
    return client.post(path, content=body, headers=headers)


def asked(client: TestClient, changes: Mapping[str, tuple[str, bytes]]) -> Any:
    """The answer to a row of which some tensors have other datatypes and bytes."""
    inputs = [in_binary(each) for each in tensors([ASKED])]
    changed = {
        name: (
            {"name": name, "shape": [1], "datatype": datatype,
             "parameters": {"binary_data_size": len(data)}},
            data,
        )
        for name, (datatype, data) in changes.items()
    }  # fmt: skip
    kept = [each for each in inputs if each[0]["name"] not in changes]
    return ask(client, *body_of([*kept, *changed.values()]))


def refused(response: Any) -> str:
    assert response.status_code == 400, response.text
    (said,) = response.json().values()
    return str(said)


def decoded(response: Any) -> dict[str, list[Any]]:
    """The outputs of an answer with binary data, each with the values in its bytes."""
    assert response.headers["content-type"] == OCTETS
    length = int(response.headers[LENGTH])
    about, data = json.loads(response.content[:length]), response.content[length:]
    columns: dict[str, list[Any]] = {}
    for output in about["outputs"]:
        assert "data" not in output
        size = output["parameters"]["binary_data_size"]
        own, data = data[:size], data[size:]
        if output["datatype"] == "BYTES":
            columns[output["name"]] = []
            while own:
                end = 4 + int.from_bytes(own[:4], "little")
                columns[output["name"]].append(own[4:end].decode())
                own = own[end:]
        else:
            columns[output["name"]] = np.frombuffer(own, DTYPES[output["datatype"]]).tolist()
        assert output["shape"] == [len(columns[output["name"]])]
    assert not data
    return columns


def test_binary_inputs_are_answered_as_records_are(
    client: TestClient, november: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    inputs = []
    for tensor in tensors(november):
        if None in tensor["data"] and tensor["datatype"] == "INT64":
            tensor["datatype"] = "FP64"  # which can hold what is missing
        inputs.append(in_binary(tensor))
    outputs = {
        each["name"]: each["data"] for each in ask(client, *body_of(inputs)).json()["outputs"]
    }
    assert outputs["prediction"] == [each["prediction"] for each in answers]
    assert outputs["probability_true"] == [each["probabilities"]["true"] for each in answers]


def test_inputs_may_be_mixed(client: TestClient) -> None:
    expected = client.post(INFER, json={"inputs": tensors([ASKED])}).json()
    inputs = [
        in_binary(each) if at % 2 else (each, b"") for at, each in enumerate(tensors([ASKED]))
    ]
    assert ask(client, *body_of(inputs)).json() == expected


@pytest.mark.parametrize("model", ["iris", "wine", "diabetes"])
def test_outputs_in_binary_are_those_in_json(model: str, request: pytest.FixtureRequest) -> None:
    client: TestClient = request.getfixturevalue(model)
    path = "/v2/models/small/infer"
    inputs = tensors([example(client)] * 3)
    expected = client.post(path, json={"inputs": inputs}).json()["outputs"]
    parameters = {"binary_data_output": True}
    response = client.post(path, json={"inputs": inputs, "parameters": parameters})
    assert decoded(response) == {each["name"]: each["data"] for each in expected}


def test_each_output_says_whether_it_is_binary(client: TestClient, flights: Artifact) -> None:
    outputs = [
        {"name": "prediction", "parameters": {"binary_data": False}},
        {"name": "probability_true"},
    ]
    content = {"inputs": tensors([ASKED]), "outputs": outputs}
    response = client.post(INFER, json=content)
    assert LENGTH not in response.headers
    response = client.post(INFER, json={**content, "parameters": {"binary_data_output": True}})
    length = int(response.headers[LENGTH])
    assert response.headers["x-model-version"] == flights.manifest.version
    first, second = json.loads(response.content[:length])["outputs"]
    expected = of_one(client)
    assert first["data"] == [expected["prediction"]]
    assert second["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(response.content[length:]) == [expected["probabilities"]["true"]]


@pytest.mark.parametrize(
    ("datatype", "content"),
    [
        ("INT8", b"\x0b"), ("UINT8", b"\x0b"), ("INT16", b"\x0b\0"), ("UINT16", b"\x0b\0"),
        ("INT32", b"\x0b\0\0\0"), ("UINT32", b"\x0b\0\0\0"), ("UINT64", b"\x0b" + bytes(7)),
        ("FP16", b"\x80\x49"), ("FP32", b"\0\0\x30\x41"), ("FP64", bytes(6) + b"\x26\x40"),
    ],
)  # fmt: skip
def test_each_datatype_is_read(client: TestClient, datatype: str, content: bytes) -> None:
    expected = client.post(INFER, json={"inputs": tensors([ASKED])}).json()
    assert asked(client, {"month": (datatype, content)}).json() == expected


def test_nan_and_empty_text_are_missing_values(client: TestClient) -> None:
    expected = asked(client, {}).json()
    gust = np.array([np.nan], "<f8").tobytes()
    assert asked(client, {"wind_gust": ("FP64", gust)}).json() == expected
    assert asked(client, {"wind_gust": ("BYTES", texts([""]))}).json() == expected
    assert asked(client, {"month": ("FP64", gust)}).status_code == 422
    assert asked(client, {"carrier": ("BYTES", texts([""]))}).status_code == 422


@pytest.mark.parametrize(
    ("datatype", "content", "expected"),
    [
        ("INT64", bytes(16), "1 values"),
        ("INT64", b"", "1 values"),
        ("INT64", bytes(7), "8 bytes"),
        ("BOOL", b"\2", "bytes of 0 and 1"),
        ("BYTES", b"\2\0\0\0", "four bytes"),
        ("BYTES", b"\2\0\0", "four bytes"),
        ("BYTES", b"\xff" * 4, "four bytes"),
        ("BYTES", texts(["a", "b"]), "1 values"),
        ("BYTES", texts([b"\xff"]), "row 0, field 'month': expected text in UTF-8"),
    ],
)
def test_bytes_that_are_not_the_tensors_are_400(
    client: TestClient, datatype: str, content: bytes, expected: str
) -> None:
    said = refused(asked(client, {"month": (datatype, content)}))
    assert expected in said
    assert "'month'" in said


def test_what_does_not_fit_the_sizes_is_400(client: TestClient) -> None:
    inputs = [in_binary(each) for each in tensors([ASKED])]
    body, length = body_of(inputs)
    assert "bytes follow the JSON" in refused(ask(client, body + b"\0", length))
    assert "bytes follow the JSON" in refused(ask(client, body[:-1], length))
    assert "bytes follow the JSON" in refused(client.post(INFER, content=body[:length]))
    for wrong in (len(body) + 1, -1, "x", "", "9" * 5000):
        assert "Inference-Header-Content-Length" in refused(ask(client, body, wrong))
    assert "JSON" in refused(ask(client, body, length - 1))
    (about, data), *others = inputs
    twice = {**about, "data": [11]}
    assert "'month'" in refused(ask(client, *body_of([(twice, data), *others])))


@pytest.mark.parametrize("media_type", [OCTETS, "application/json", None])
def test_the_media_type_of_a_body_with_binary_data_may_be_any(
    client: TestClient, media_type: str | None
) -> None:
    body, length = body_of([in_binary(each) for each in tensors([ASKED])])
    headers = {LENGTH: str(length)} | ({"content-type": media_type} if media_type else {})
    assert client.post(INFER, content=body, headers=headers).status_code == 200


def test_no_rows_have_no_answers_in_binary(client: TestClient) -> None:
    inputs = [in_binary({**each, "shape": [0], "data": []}) for each in tensors([ASKED])]
    body, length = body_of(inputs, parameters={"binary_data_output": True})
    columns = decoded(ask(client, body, length))
    assert columns == {"prediction": [], "probability_false": [], "probability_true": []}


CALLER = """
import json, sys
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

address, flight = sys.argv[1], json.loads(sys.argv[2])
client = InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("flights")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
inputs = []
for tensor in client.get_model_metadata("flights")["inputs"]:
    if tensor["name"] in flight:
        kind = {"INT64": np.int64, "FP64": np.float64, "BYTES": np.object_}[tensor["datatype"]]
        values = np.array([[flight[tensor["name"]]]] * 2, kind)
        inputs.append(InferInput(tensor["name"], values.shape, tensor["datatype"]))
        inputs[-1].set_data_from_numpy(values)
by_default = client.infer("flights", inputs)
chosen = client.infer("flights", inputs, outputs=[InferRequestedOutput("prediction")])
in_json = InferRequestedOutput("prediction", binary_data=False)
as_json = client.infer("flights", inputs, outputs=[in_json], request_id="7")
assert as_json.get_response()["id"] == "7"
answers = [each.as_numpy("prediction").tolist() for each in (by_default, chosen, as_json)]
print(json.dumps([answers, by_default.as_numpy("probability_true").tolist()]))
"""


@pytest.mark.slow
def test_tritons_client_is_answered_by_its_defaults(
    flights_store: Path, client: TestClient, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    packages = ("tritonclient[http]==2.73.0", f"numpy=={np.__version__}")
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*install, *packages], check=True)
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path) as server:
        address = server.url.removeprefix("http://")
        done = subprocess.run(
            [python, "-c", CALLER, address, json.dumps(FLIGHT)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    expected = of_one(client, FLIGHT)
    predictions, shares = json.loads(done.stdout)
    assert predictions == [[expected["prediction"]] * 2] * 3
    assert shares == [expected["probabilities"]["true"]] * 2
