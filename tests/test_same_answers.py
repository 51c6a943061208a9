"""The same rows get the same answers from `batch-predict` and from `POST /predict`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi.testclient import TestClient

from tests.conftest import FLIGHTS, NOVEMBER, read_csv, ready_client
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.model.artifact import Artifact
from trivet.model.store import ModelStore
from trivet.online.settings import ServeSettings
from trivet.rows.contract import Column
from trivet.train.run import train


def as_json(column: Column, cell: str) -> Any:
    if cell == "":
        return None
    return {"integer": lambda: int(float(cell)), "number": lambda: float(cell)}.get(
        column.kind, lambda: cell
    )()


def test_every_flight_of_november(
    client: TestClient, flights: Artifact, flights_store: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    batch_predict(BatchSettings(str(NOVEMBER), str(output), "flights", models_dir=flights_store))
    columns = flights.manifest.contract.columns
    flights_of_november = read_csv(NOVEMBER)
    records = [
        {column.name: as_json(column, flight[column.name]) for column in columns}
        for flight in flights_of_november
    ]
    carriers = next(column.categories for column in columns if column.name == "carrier")
    assert any(record["carrier"] not in carriers for record in records)
    assert any(record["wind_gust"] is None for record in records)

    online = client.post("/predict", json={"instances": records}).json()["predictions"]
    batch = read_csv(output)
    assert [str(answer["prediction"]).lower() for answer in online] == [
        row["prediction"] for row in batch
    ]
    for label in ("false", "true"):
        assert [answer["probabilities"][label] for answer in online] == [
            float(row[f"probability_{label}"]) for row in batch
        ]


def test_tables_with_pandas_row_labels(
    client: TestClient, flights: Artifact, flights_store: Path, tmp_path: Path
) -> None:
    names = flights.manifest.contract.feature_names
    frame = pd.read_csv(NOVEMBER, nrows=50)[list(names)].set_index(pd.Index(range(7, 57)))
    labelled, read_again = tmp_path / "labelled.csv", tmp_path / "read.csv"
    frame.to_csv(labelled)
    pd.read_csv(labelled).to_csv(read_again, index=False)
    frame.to_csv(tmp_path / "plain.csv", index=False)
    answers = []
    for path in (tmp_path / "plain.csv", labelled, read_again):
        output = tmp_path / "out" / path.name
        batch_predict(BatchSettings(str(path), str(output), "flights", models_dir=flights_store))
        answers.append([float(row["probability_true"]) for row in read_csv(output)])
        headers = {"Content-Type": "text/csv"}
        found = client.post("/predict", content=path.read_bytes(), headers=headers).json()
        answers.append([each["probabilities"]["true"] for each in found["predictions"]])
    records = pd.read_csv(labelled).to_json(orient="records")
    found = client.post("/predict", content=f'{{"instances": {records}}}').json()
    answers.append([each["probabilities"]["true"] for each in found["predictions"]])
    assert all(each == answers[0] for each in answers)


def test_flights_one_by_one_by_a_model_of_sums(tmp_path: Path) -> None:
    settings = replace(FLIGHTS, target="origin", exclude=("late",), estimator="logistic")
    train(replace(settings, data=NOVEMBER, models_dir=tmp_path))
    output = tmp_path / "out.csv"
    batch_predict(BatchSettings(str(NOVEMBER), str(output), "flights", models_dir=tmp_path))
    columns = ModelStore(tmp_path).artifact("flights").manifest.contract.columns
    with ready_client(ServeSettings("flights", models_dir=tmp_path)) as client:
        for flight, row in list(zip(read_csv(NOVEMBER), read_csv(output), strict=True))[:500]:
            record = {column.name: as_json(column, flight[column.name]) for column in columns}
            [answer] = client.post("/predict", json=record).json()["predictions"]
            for label, share in answer["probabilities"].items():
                assert share == float(row[f"probability_{label}"])
