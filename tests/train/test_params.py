"""Hyperparameters that name columns or labels, and what scikit-learn says about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import run_trivet, trained, write_csv
from trivet.errors import SettingsError, TrainingError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.train.settings import TrainSettings

HEADER = ["up", "group", "down", "when", "y"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target that rises with ``up`` and falls with ``down``; the category stands between them."""
    random = np.random.default_rng(0)
    rows: list[list[object]] = []
    for n in range(400):
        up, down = random.normal(size=2)
        noise = random.normal() * 2
        group, when = random.choice(["a", "b", "c"]), f"2013-01-{1 + n % 28:02}"
        rows.append([up, group, down, when, up - down + noise])
    return write_csv(tmp_path_factory.mktemp("named") / "table.csv", HEADER, rows)


def fitted(table: Path, models_dir: Path, **options: Any) -> Artifact:
    settings = TrainSettings(data=table, target="y", models_dir=models_dir)
    return trained(replace(settings, **options))


def steps_of(artifact: Artifact, name: str) -> Any:
    """How the answer changes along one number, the other features fixed, (answers - 1,)."""
    records = [
        {**artifact.manifest.contract.example, name: x} for x in np.linspace(-3, 3, 60).tolist()
    ]
    answers = Predictor.load(artifact).predict_records(records).values
    return np.diff(np.array(answers, dtype=float))


@pytest.mark.parametrize(
    ("estimator", "features"),
    [
        ("hist_gradient_boosting", None),
        ("hist_gradient_boosting", "imputed"),
        ("random_forest", None),
        ("sklearn.ensemble.ExtraTreesRegressor", None),
    ],
)
def test_a_monotonic_constraint_is_on_the_feature_that_it_names(
    table: Path, tmp_path: Path, estimator: str, features: str | None
) -> None:
    """Each is constrained against its nature, so the answer can't change along it."""
    options: dict[str, Any] = {"estimator": estimator, "features": features}
    for name, sign in (("down", 1), ("up", -1)):
        artifact = fitted(table, tmp_path, params={"monotonic_cst": {name: sign}}, **options)
        other = "up" if name == "down" else "down"
        assert (steps_of(artifact, name) * sign >= 0).all()
        assert (steps_of(artifact, other) > 0).any()
        assert (steps_of(artifact, other) < 0).any()
        assert artifact.manifest.estimator.params["monotonic_cst"] == {name: sign}


def test_interactions_are_between_the_features_that_are_named(table: Path, tmp_path: Path) -> None:
    groups = [["down", "when"], ["up"]]
    artifact = fitted(table, tmp_path, params={"interaction_cst": groups})
    # The category first, then both numbers, then the four features of the timestamp.
    assert artifact.load_pipeline()[-1].interaction_cst == [[2, 3, 4, 5, 6], [1]]
    assert artifact.manifest.not_compiled is None


def test_categorical_features_are_those_that_are_named(table: Path, tmp_path: Path) -> None:
    artifact = fitted(table, tmp_path, params={"categorical_features": ["group"]})
    assert artifact.load_pipeline()[-1].is_categorical_.tolist() == [True, *[False] * 6]
    with pytest.raises(SettingsError, match="no feature 'grup'; did you mean 'group'"):
        fitted(table, tmp_path, params={"categorical_features": ["grup"]})


def test_words_for_interactions_are_left_as_they_are(table: Path, tmp_path: Path) -> None:
    artifact = fitted(table, tmp_path, params={"interaction_cst": "no_interactions"})
    assert artifact.load_pipeline()[-1].interaction_cst == "no_interactions"


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        ({"monotonic_cst": [0, 1, -1]}, {}, 'by name, such as {"up": 1}, not by position$'),
        ({"monotonic_cst": ["up"]}, {}, 'by name, such as {"up": 1}, not by position$'),
        ({"monotonic_cst": {"group": 1}}, {}, "'group' is a category; only a number, an integer"),
        ({"monotonic_cst": {"when": 1}}, {}, "'when' is a timestamp; only a number, an integer"),
        ({"interaction_cst": [[0, 1]]}, {}, r'by name, such as \[\["up", "down"\]\], not by'),
        ({"interaction_cst": ["up", "down"]}, {}, r'such as \[\["up", "down"\]\], not by pos'),
        ({"categorical_features": [0]}, {}, r'by name, such as \["up"\], not by position$'),
        ({"categorical_features": [True, False]}, {}, r'such as \["up"\], not by position$'),
        (
            {"monotonic_cst": {"up": 1}},
            {"features": "scaled"},
            "no position of their own among 'scaled' features; use --features native or imputed$",
        ),
    ],
)
def test_columns_by_position_are_refused(
    table: Path, tmp_path: Path, params: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        fitted(table, tmp_path, params=params, **options)
    assert ModelStore(tmp_path).names() == []


def test_a_table_of_the_settings_file_names_columns(table: Path, tmp_path: Path) -> None:
    (tmp_path / "trivet.toml").write_text(
        f'[train]\ndata = "{table}"\ntarget = "y"\n[train.params]\nmax_depth = "None"\n'
        'interaction_cst = [["up"], ["down", "group"]]\n'
        "[train.params.monotonic_cst]\ndown = -1\n"
    )
    result = run_trivet("train", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    estimator = ModelStore(tmp_path / "models").artifact("model").load_pipeline()[-1]
    assert estimator.monotonic_cst == [0, 0, -1, 0, 0, 0, 0]
    assert estimator.interaction_cst == [[1], [0, 2]]
    assert estimator.max_depth is None


def test_a_column_may_have_any_name(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "table.csv", ["a=b", "y"], [[n % 50, n / 2] for n in range(100)])
    (tmp_path / "trivet.toml").write_text(
        f'[train]\ndata = "{table}"\ntarget = "y"\n[train.params.monotonic_cst]\n"a=b" = 1\n'
    )
    result = run_trivet("train", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_error_of_scikit_learn_names_the_column(tmp_path: Path) -> None:
    rows = [[n % 5, f"a{n % 3}", f"b{n % 40}", n % 11] for n in range(400)]
    table = write_csv(tmp_path / "table.csv", ["n", "a", "b", "y"], rows)
    with pytest.raises(TrainingError, match="Categorical feature 'b' is expected to have a card"):
        fitted(table, tmp_path, task="regression", params={"max_bins": 10})
    params = {"max_bins": 4, "categorical_features": ["n", "b"]}
    with pytest.raises(TrainingError, match="Categorical feature 'b' is expected to have a card"):
        fitted(table, tmp_path, task="regression", params={**params, "max_bins": 20})


def test_a_warning_while_fitting_is_told_once(table: Path, tmp_path: Path) -> None:
    options = ("--target", "y", "--estimator", "sklearn.neural_network.MLPRegressor")
    told = ("--param", "max_iter=2", "--features", "scaled")
    result = run_trivet("train", "--data", table, *options, *told, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    said = (
        "Stochastic Optimizer: Maximum iterations (2) reached and the optimization hasn't "
        "converged yet."
    )
    assert result.stdout.count(f"warning: {said}\n") == 1
    artifact = ModelStore(tmp_path / "models").artifact("model")
    assert artifact.manifest.warnings.count(said) == 1
    assert f"\n- warning: {said}\n" in artifact.read("report.md").decode()


def test_a_warning_of_many_lines_is_told_in_one(table: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": "group", "estimator": "logistic"}
    artifact = fitted(table, tmp_path, params={"max_iter": 2}, **options)
    said = "lbfgs failed to converge after 2 iteration(s) (status=1)"
    assert said in artifact.manifest.warnings
    artifact = fitted(table, tmp_path, **options)
    assert said not in artifact.manifest.warnings
