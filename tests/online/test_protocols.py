"""A foreign protocol is gone once its module is deleted, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import trivet
from tests.online.asking import FLIGHT
from trivet.online import protocols

#: By protocol: a request that it alone answers, and words of the documentation that are its own.
ALL: dict[str, tuple[tuple[str, str, object], tuple[str, ...]]] = {
    "mlflow": (
        ("POST", "/invocations", {"dataframe_records": [FLIGHT]}),
        ("MLflow", '"Invocation"'),
    ),
    "sagemaker": (("GET", "/ping", None), ("SageMaker", "/ping")),
    "v2": (("GET", "/v2", None), ('"/v2', "Open Inference", "InferRequest")),
    "v1": (("GET", "/v1/models", None), ('"/v1', "KServe V1")),
}
HERE = {module.name for module in iter_modules(protocols.__path__)}
OWN = {name: own for name, own in ALL.items() if name in HERE}
ASK = """
import json, sys
from pathlib import Path
from fastapi.testclient import TestClient
from trivet.online.app import create_app
from trivet.online.settings import ServeSettings

settings = ServeSettings("flights", models_dir=Path(sys.argv[1]), api_keys=(b"k" * 16,))
with TestClient(create_app(settings), headers={"x-api-key": "k" * 16}) as client:
    answers = [client.request(method, path, json=content) for method, path, content in
               json.loads(sys.argv[2])]
print(json.dumps([[answer.status_code, answer.text] for answer in answers]))
"""


def without(deleted: tuple[str, ...], folder: Path) -> Path:
    """A copy of the package that lacks some modules of protocols."""
    package = shutil.copytree(Path(trivet.__file__).parent, folder / "trivet")
    for name in deleted:
        path = package / "online/protocols" / name
        shutil.rmtree(path) if path.is_dir() else path.with_suffix(".py").unlink()
    return folder


def answers(package: Path, store: Path, requests: list[object]) -> list[tuple[int, str]]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(store), json.dumps(requests)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [(status, text) for status, text in json.loads(done.stdout)]


def test_every_protocol_has_a_case_here() -> None:
    assert OWN.keys() == HERE


@pytest.mark.parametrize("deleted", [(), *((name,) for name in OWN), tuple(OWN)], ids=str)
def test_a_module_that_is_deleted_takes_its_protocol_along_and_nothing_else(
    flights_store: Path, tmp_path: Path, deleted: tuple[str, ...]
) -> None:
    own = {name: request for name, (request, _) in OWN.items()}
    requests: list[Any] = [
        ("POST", "/predict", FLIGHT), ("GET", "/openapi.json", None), ("GET", "/", None),
        ("GET", "/v2/nowhere", None), ("POST", "/invocations", FLIGHT), *own.values(),
    ]  # fmt: skip
    found = answers(without(deleted, tmp_path), flights_store, requests)
    predict, (_, documentation), (_, index), (_, error), (invocations, _), *others = found
    assert predict[0] == 200
    for name, (status, _) in zip(own, others, strict=True):
        assert (status == 200) == (name not in deleted), name
        for word in OWN[name][1]:
            assert (word in documentation) == (name not in deleted), word
    left = HERE - {*deleted}
    assert json.loads(index).keys() & {"v1", "v2"} == left & {"v1", "v2"}
    assert ("error" in json.loads(error)) == ("v2" in left)
    assert ("detail" in json.loads(error)) == ("v2" not in left)
    assert invocations == (200 if left & {"mlflow", "sagemaker"} else 404)
