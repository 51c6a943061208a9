"""Every estimator, for every task, on every kind of column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import trained, write_csv
from trivet.errors import SettingsError, TrainingError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.pipeline import ESTIMATORS
from trivet.train.settings import TrainSettings

FAST = {"random_forest": {"n_estimators": 5}, "extra_trees": {"n_estimators": 5}}
TARGETS = {"binary": "classification", "several": "classification", "amount": "regression"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of column, with missing values in each."""
    random = np.random.default_rng(0)
    rows: list[list[object]] = []
    for n in range(300):
        number, category = random.normal(), random.choice(["a", "b", "c"])
        row: list[object] = [number, n % 9, n % 2 == 0, category, f"2013-01-{1 + n % 28:02}"]
        row = ["" if random.random() < 0.1 else value for value in row]
        rows.append([*row, number > 0, category, number * 10])
    header = ["number", "integer", "boolean", "category", "timestamp", *TARGETS]
    return write_csv(tmp_path_factory.mktemp("kinds") / "table.csv", header, rows)


def fitted(table: Path, models_dir: Path, **options: object) -> Artifact:
    settings = TrainSettings(data=table, target="binary", models_dir=models_dir)
    return trained(replace(settings, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (estimator, target)
        for estimator, known in ESTIMATORS.items()
        for target, task in TARGETS.items()
        if task in known.classes
    ],
)
def test_every_estimator_learns(table: Path, tmp_path: Path, estimator: str, target: str) -> None:
    others = tuple(set(TARGETS) - {target})
    options = {"estimator": estimator, "target": target, "exclude": others}
    artifact = fitted(table, tmp_path, params=FAST.get(estimator, {}), **options)
    assert artifact.manifest.not_compiled is None
    metrics, baseline = artifact.manifest.metrics, artifact.manifest.baseline
    key = "r2" if target == "amount" else "roc_auc"
    model_score, baseline_score = metrics[key], baseline[key]
    assert model_score is not None
    assert baseline_score is not None
    assert model_score > baseline_score + 0.2
    nothing: list[object] = [{}]
    assert len(Predictor.load(artifact).predict_records(nothing).values) == 1


EXTREME: list[dict[str, object]] = [
    {"number": 1e300, "integer": -(10**39)},
    {"number": -1e300, "category": "unheard of"},
    {"timestamp": "9999-12-31"},
    {"timestamp": "0001-01-01"},
    {"timestamp": "1600-02-29T12:30:00Z"},
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_world_may_go_beyond_what_training_saw(
    table: Path, tmp_path: Path, estimator: str
) -> None:
    target = "amount" if estimator == "ridge" else "binary"
    exclude = tuple(set(TARGETS) - {target})
    options = {"estimator": estimator, "target": target, "exclude": exclude}
    artifact = fitted(table, tmp_path, params=FAST.get(estimator, {}), **options)
    answers = Predictor.load(artifact).predict_records(EXTREME)
    assert len(answers.values) == len(EXTREME)


def test_hyperparameters_reach_the_estimator(table: Path, tmp_path: Path) -> None:
    artifact = fitted(table, tmp_path, params={"max_iter": 3})
    assert artifact.load_pipeline().named_steps["estimator"].n_iter_ == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "ramdom_forest"}, "did you mean 'random_forest'"),
        ({"estimator": "ridge"}, "is not an estimator for classification; choose one of"),
        ({"params": {"max_itr": 3}}, "did you mean 'max_iter'"),
    ],
)
def test_wrong_settings_are_named(
    table: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        fitted(table, tmp_path, **options)


def test_a_refused_hyperparameter_is_one_clear_error(table: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="max_iter"):
        fitted(table, tmp_path, params={"max_iter": -1})
    assert ModelStore(tmp_path).names() == []


def test_more_categories_than_a_histogram_holds_are_learnt(tmp_path: Path) -> None:
    rows = [[f"c{n % 400}", n % 2 == 0] for n in range(2000)]
    table = write_csv(tmp_path / "table.csv", ["code", "y"], rows)
    artifact = fitted(table, tmp_path / "models", target="y")
    assert len(artifact.manifest.contract.columns[0].categories) == 400
    assert artifact.manifest.not_compiled is None
