"""Services of other models and with other settings, for the tests of the online leg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sklearn.datasets import load_diabetes, load_iris, load_wine

from tests.conftest import NOVEMBER, Server, read_csv, ready_client, serving
from tests.online.asking import KEYS, ROWS
from tests.test_same_answers import as_json
from tests.train.test_other_tables import saved
from trivet.model.artifact import Artifact
from trivet.online.settings import ServeSettings
from trivet.train.run import train
from trivet.train.settings import TrainSettings


@pytest.fixture(scope="session")
def november(flights: Artifact) -> list[dict[str, Any]]:
    """Records of real flights, with missing values and carriers that training did not see."""
    columns = flights.manifest.contract.columns
    return [
        {column.name: as_json(column, flight[column.name]) for column in columns}
        for flight in read_csv(NOVEMBER)[:ROWS]
    ]


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A regression."""
    folder = tmp_path_factory.mktemp("diabetes")
    table = saved(load_diabetes(as_frame=True, scaled=False), folder / "diabetes.csv")
    yield from serve_small(table, "ridge")


@pytest.fixture(scope="session")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A classification with three labels, which are text."""
    names = ["setosa", "versicolor, or blue", "virginica"]
    folder = tmp_path_factory.mktemp("iris")
    yield from serve_small(saved(load_iris(as_frame=True), folder / "iris.csv", names), "logistic")


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A classification with three labels, which are numbers."""
    folder = tmp_path_factory.mktemp("wine")
    yield from serve_small(saved(load_wine(as_frame=True), folder / "wine.csv"), "logistic")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(KEYS) + "\n")
    return path


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def small_server(flights_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that takes no more than 40,000 bytes, nor 50 records."""
    options = ("--model", "flights", "--models-dir", str(flights_store), "--access-log")
    limits = ("--max-body", "40000", "--max-rows", "50")
    with serving(*options, *limits, cwd=tmp_path_factory.mktemp("small")) as server:
        yield server


@pytest.fixture(scope="session")
def overloaded(flights_store: Path) -> Iterator[TestClient]:
    """A client of a service that has no room for any request."""
    settings = ServeSettings("flights", models_dir=flights_store, max_in_flight=0)
    with ready_client(settings) as client:
        yield client
