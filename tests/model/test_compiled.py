"""The compiled form gives the pipeline's answers, and is used only if it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.conftest import FLIGHTS, NOVEMBER, encoded, ready_client, trained, write_csv
from tests.online.asking import FLIGHT
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.model.artifact import Artifact
from trivet.model.compiled import CompiledPipeline
from trivet.model.fitted import FittedPipeline
from trivet.model.predictor import TOLERANCE, Predictor
from trivet.online.settings import ServeSettings
from trivet.rows.rejects import MaxRejected
from trivet.rows.values import UNSEEN
from trivet.train.compile import NotCompilable
from trivet.train.compile.pipeline import compile_pipeline
from trivet.train.compile.proof import prove
from trivet.train.run import train
from trivet.train.settings import TrainSettings

SMALL = {"n_estimators": 7}
FULL_WORD = {"loss": "poisson", "max_iter": 9, "max_leaf_nodes": 32}
#: Between them: every estimator, every task, every kind of column, masks of one word and of more,
#: one score a row and several; dest has a hundred categories.
MODELS: dict[str, dict[str, Any]] = {
    "boosting": {},
    "boosting of three": {"target": "origin", "params": {"max_leaf_nodes": 100, "max_iter": 9}},
    "boosting to a number": {"target": "dep_delay"},
    "boosting to a count": {"target": "distance", "params": FULL_WORD},
    "logistic": {"estimator": "logistic"},
    "logistic of three": {"target": "origin", "estimator": "logistic"},
    "logistic of many": {
        "target": "hour",
        "estimator": "logistic",
        "params": {"max_iter": 30},
        "time_column": None,
    },
    "ridge": {"target": "dep_delay", "estimator": "ridge"},
    "least squares": {
        "target": "dep_delay",
        "estimator": "sklearn.linear_model.LinearRegression",
        "features": "scaled",
    },
    "forest": {"estimator": "random_forest", "params": SMALL},
    "forest on one-hot": {"estimator": "random_forest", "features": "scaled", "params": SMALL},
    "forest to a number": {"target": "dep_delay", "estimator": "random_forest", "params": SMALL},
    "extra trees of three": {"target": "origin", "estimator": "extra_trees", "params": SMALL},
    "extra trees to a number": {"target": "dep_delay", "estimator": "extra_trees", "params": SMALL},
    "with a boolean and a timestamp": {"target": "dep_delay", "time_column": None, "exclude": ()},
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    options = MODELS[request.param]
    exclude = ("late",) if "target" in options else ()
    settings = replace(FLIGHTS, data=NOVEMBER, models_dir=tmp_path_factory.mktemp("models"))
    artifact = trained(replace(settings, **{"exclude": exclude, **options}))
    assert artifact.manifest.not_compiled is None
    return artifact


def odd_rows(artifact: Artifact) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Flights of other months, then some of them with missing, unseen and extreme values."""
    contract = artifact.manifest.contract
    rows = encoded(FLIGHTS.data, contract)[:1500]
    odd = rows[:500].copy()
    odd[np.random.default_rng(1).random(odd.shape) < 0.3] = np.nan
    # Forests refuse what float32 can't hold; their own features limit it, scaled ones don't.
    extreme = 1e30 if artifact.manifest.settings.get("features") == "scaled" else 1e300
    for position, column in enumerate(contract.columns):
        if column.kind == "category":
            odd[::3, position] = UNSEEN
        elif column.kind != "timestamp":
            odd[1::5, position], odd[2::5, position] = extreme, -extreme
    return np.concatenate([rows, odd])


def test_every_model_that_is_offered_compiles_and_agrees(model: Artifact) -> None:
    compiled = CompiledPipeline.load(model.verify())
    rows = odd_rows(model)
    fitted = FittedPipeline(model.manifest.contract, model.load_pipeline())
    expected = fitted.answers(rows)
    np.testing.assert_allclose(compiled.answers(rows), expected, rtol=TOLERANCE, atol=0)
    for size in (1, 7):
        few = [compiled.answers(rows[at : at + size]) for at in range(0, 210, size)]
        np.testing.assert_allclose(np.concatenate(few), expected[:210], rtol=TOLERANCE, atol=0)


def test_an_answer_has_the_same_bits_in_any_company(model: Artifact) -> None:
    compiled = CompiledPipeline.load(model.verify())
    rows = encoded(FLIGHTS.data, model.manifest.contract)[:2000]
    rows[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    together = compiled.answers(rows)
    for size in (1, 7, 33, 600):
        some = [compiled.answers(rows[at : at + size]) for at in range(0, len(rows), size)]
        np.testing.assert_array_equal(np.concatenate(some).view(np.int64), together.view(np.int64))
    np.testing.assert_array_equal(compiled.answers(rows[::-1])[::-1], together)
    answers = compiled.answers(np.tile(rows, (30, 1)))
    np.testing.assert_array_equal(answers[-len(rows) :], together)


def test_nothing_is_unpickled_for_a_compiled_model(
    flights: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Artifact, "load_pipeline")
    assert isinstance(Predictor.load(flights).model, CompiledPipeline)


def test_trees_of_up_to_32_leaves_are_masked_in_32_bits(flights: Artifact) -> None:
    compiled = CompiledPipeline.load(flights.verify())
    assert compiled._model._masks.dtype == np.uint32  # half the memory to read for each row


def test_no_rows_get_no_answers(flights: Artifact) -> None:
    compiled = CompiledPipeline.load(flights.verify())
    assert compiled.answers(np.empty((0, 17))).shape == (0, 2)


def test_a_model_without_a_compiled_form_says_why(uncompiled: Artifact) -> None:
    assert uncompiled.manifest.not_compiled == "speeds: Speeds"
    assert b"not compiled (speeds: Speeds)" in uncompiled.read("report.md")
    assert isinstance(Predictor.load(uncompiled).model, FittedPipeline)


def test_a_model_without_a_compiled_form_predicts_batches_in_processes(
    uncompiled: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 300_000)
    outputs = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for workers, output in enumerate(outputs, 1):
        settings = BatchSettings(
            str(NOVEMBER),
            str(output),
            "flights",
            models_dir=uncompiled.path.parent.parent,
            workers=workers,
        )
        assert batch_predict(settings).predicted == 5000
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_model_without_a_compiled_form_is_served(uncompiled: Artifact) -> None:
    settings = ServeSettings("flights", models_dir=uncompiled.path.parent.parent)
    with ready_client(settings) as client:
        assert isinstance(client, TestClient)
        assert client.post("/predict", json=FLIGHT).status_code == 200


def test_an_answer_that_is_not_finite_is_a_fault_of_its_row(tmp_path: Path) -> None:
    rows = [[n * 1e-9, n] for n in range(60)]
    table = write_csv(tmp_path / "table.csv", ["x", "y"], rows)
    settings = TrainSettings(data=table, target="y", estimator="ridge", models_dir=tmp_path)
    train(replace(settings, model="m"))
    with ready_client(ServeSettings("m", models_dir=tmp_path)) as client:
        records = [{"x": 1e-9}, {"x": 1.7e308}]
        response = client.post("/predict", json={"instances": records})
        assert response.status_code == 422
        assert [fault["row"] for fault in response.json()["errors"]] == [1]
        assert client.post("/predict", json=records[0]).status_code == 200
    source = write_csv(tmp_path / "far.csv", ["x"], [[1e-9], [1.7e308]])
    allowed = MaxRejected(1)
    output = str(tmp_path / "out.csv")
    batch = BatchSettings(str(source), output, "m", models_dir=tmp_path, max_rejected=allowed)
    reasons = batch_predict(batch).rejected_by_reason
    assert reasons == {"not values that the model has a finite answer to": 1}


def test_a_compiled_form_with_other_answers_is_refused(flights: Artifact) -> None:
    contract, fitted_pipeline = flights.manifest.contract, flights.load_pipeline()
    fitted = FittedPipeline(contract, fitted_pipeline)
    compiled = compile_pipeline(fitted_pipeline, contract)
    rows = encoded(NOVEMBER, contract)[:200]
    answers = fitted.answers(rows)
    prove(compiled, fitted, contract, rows, answers)
    leaves = compiled.arrays["leaves"].copy()
    leaves[3] += 1e-6
    wrong = CompiledPipeline(compiled.spec, {**compiled.arrays, "leaves": leaves})
    with pytest.raises(NotCompilable, match="other answers to held-out rows"):
        prove(wrong, fitted, contract, rows, answers)
