"""Other real tables, of other tasks, from end to end by flags alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from tests.conftest import read_csv, run_trivet, serving


def saved(bunch: Any, path: Path, names: list[str] | None = None) -> Path:
    """A data set of scikit-learn's as a CSV; ``names`` puts labels for the target's numbers."""
    frame = bunch.frame
    if names is not None:
        frame["target"] = [names[number] for number in frame["target"]]
    frame.to_csv(path, index=False)
    return path


def test_wine_has_three_integer_labels(tmp_path: Path) -> None:
    table = saved(load_wine(as_frame=True), tmp_path / "wine.csv")
    answers, record = train_predict_and_ask(table, tmp_path, "target")
    assert {row["prediction"] for row in read_csv(tmp_path / "out.csv")} == {"0", "1", "2"}
    assert answers["predictions"][0]["prediction"] in (0, 1, 2)
    assert type(answers["predictions"][0]["prediction"]) is int
    assert answers["predictions"][0]["probabilities"].keys() == {"0", "1", "2"}
    assert "od280/od315_of_diluted_wines" in record


def test_iris_has_text_labels_and_names_with_brackets(tmp_path: Path) -> None:
    table = saved(
        load_iris(as_frame=True), tmp_path / "iris.csv", ["setosa", "versicolor", "virginica"]
    )
    answers, record = train_predict_and_ask(table, tmp_path, "target", "--estimator", "logistic")
    assert answers["predictions"][0]["probabilities"].keys() == {
        "setosa",
        "versicolor",
        "virginica",
    }
    assert "sepal length (cm)" in record


def test_diabetes_is_a_regression(tmp_path: Path) -> None:
    table = saved(load_diabetes(as_frame=True, scaled=False), tmp_path / "diabetes.csv")
    answers, _ = train_predict_and_ask(table, tmp_path, "target", "--estimator", "ridge")
    (answer,) = answers["predictions"]
    assert answer.keys() == {"prediction"}
    assert 25 < answer["prediction"] < 346
    assert "probability" not in (tmp_path / "out.csv").read_text()


@pytest.mark.slow
def test_a_parquet_table_of_breast_cancer(tmp_path: Path) -> None:
    load_breast_cancer(as_frame=True).frame.to_parquet(tmp_path / "cancer.parquet")
    answers, _ = train_predict_and_ask(
        tmp_path / "cancer.parquet", tmp_path, "target", "--param", "max_iter=30"
    )
    assert answers["predictions"][0]["prediction"] in (0, 1)


def train_predict_and_ask(
    table: Path, folder: Path, target: str, *options: str
) -> tuple[Any, dict[str, Any]]:
    """All three legs in a folder without settings; the service's answer to its own example."""
    trained = run_trivet("train", "--data", table, "--target", target, *options, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    assert "compiled: predicted without scikit-learn" in trained.stdout
    predicted = run_trivet("batch-predict", "--input", table, "--output", "out.csv", cwd=folder)
    assert predicted.returncode == 0, predicted.stderr
    with serving(cwd=folder) as server:
        status, document = server.get("/openapi.json")
        assert status == 200
        record = json.loads(document)["components"]["schemas"]["Record"]["example"]
        status, answers = server.post("/predict", record)
        assert status == 200
    return answers, record


@pytest.mark.parametrize("target", ["prize", "time"])
def test_a_misspelt_target_is_named(tmp_path: Path, target: str) -> None:
    table = saved(load_wine(as_frame=True), tmp_path / "wine.csv")
    result = run_trivet("train", "--data", table, "--target", target, cwd=tmp_path)
    assert result.returncode == 1
    assert f"no column {target!r}" in result.stderr
