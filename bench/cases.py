"""The models that `bench/online.py` serves: each with rows to ask about, and the right answers."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contestants import CACHE, FLIGHTS, MODELS, OWN, PEERS, ROOT, Row
from rows import csv_rows
from sklearn.datasets import load_diabetes, load_digits

from trivet.model.fitted import to_frame
from trivet.model.store import ModelStore

ROWS = 1000
NOVEMBER = ROOT / "data/flights_november.csv"
#: The flights' models, with what `trivet train` is told beside trivet.toml.
OPTIONS = {FLIGHTS: [], "flights-uncompiled": ["--pipeline", str(PEERS / "three_steps.py")]}
#: Models of other tables, which scikit-learn ships.
LOADERS = {"diabetes": load_diabetes, "digits": load_digits}


@dataclass(frozen=True)
class Case:
    """The file of a model, rows without missing values, and the pipeline's answers to them.

    ``expected`` is (rows x labels but the first), the probabilities; or for a regression (rows,).
    """

    model: Path
    rows: list[Row]
    expected: np.ndarray


def case_of(model: str) -> Case:
    """Train a model, unless it is up to date, and ask its pipeline."""
    if model in LOADERS:
        table = CACHE / f"{model}.csv"
        LOADERS[model](as_frame=True).frame.to_csv(table, index=False)
        options = ["--data", str(table), "--target", "target"]
    else:
        table, options = NOVEMBER, OPTIONS[model]
    train = [str(OWN / "bin/trivet"), "train", "--models-dir", str(MODELS), "--model", model]
    subprocess.run([*train, *options], cwd=ROOT, check=True)
    artifact = ModelStore(MODELS).artifact(model)
    contract, pipeline = artifact.manifest.contract, artifact.load_pipeline()
    frame = to_frame(csv_rows(table, contract), contract).dropna()[:ROWS]
    is_regression = contract.target.task == "regression"
    expected = pipeline.predict(frame) if is_regression else pipeline.predict_proba(frame)[:, 1:]
    whole = {column.name: int for column in contract.columns if column.kind == "integer"}
    return Case(artifact.path / "model.joblib", frame.astype(whole).to_dict("records"), expected)
