"""Weights of labels and of rows reach the estimator, whatever it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import OWN_PIPELINE, encoded, run_trivet, trained, write_csv
from trivet.errors import SettingsError, TableError, TrainingError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.pipeline import ESTIMATORS
from trivet.train.run import train
from trivet.train.settings import TrainSettings

#: A few shallow trees: a classifier that has learnt all rows by heart is not moved by weights.
SHALLOW: dict[str, Any] = {
    "hist_gradient_boosting": {"max_iter": 5},
    "random_forest": {"n_estimators": 9, "max_depth": 3},
    "extra_trees": {"n_estimators": 9, "max_depth": 3},
    "sklearn.ensemble.GradientBoostingClassifier": {"n_estimators": 5},
}
CLASSIFIERS = [
    *(name for name, known in ESTIMATORS.items() if "classification" in known.classes),
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.naive_bayes.GaussianNB",
]
#: Labels by the type that they are read as.
LABELS: dict[str, list[Any]] = {
    "boolean": [False, True],
    "integer": [1, 2, 3],
    "text": ["low", "mid", "top"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels that two numbers say something about, a weight that favours ``x`` above 0."""
    random = np.random.default_rng(0)
    rows: list[list[object]] = []
    for _ in range(600):
        x, z = random.normal(size=2)
        at = int(np.clip(np.round(1 + x / 2 + random.normal() / 2), 0, 2))
        labels = [LABELS["boolean"][at > 1], LABELS["integer"][at], LABELS["text"][at]]
        rows.append([x, z, *labels, 20 if z > 0 else 1, x * (1 if z > 0 else -1)])
    return write_csv(
        tmp_path_factory.mktemp("weights") / "table.csv",
        ["x", "z", *LABELS, "weight", "amount"],
        rows,
    )


def fitted(table: Path, models_dir: Path, target: str, **options: Any) -> Artifact:
    exclude = tuple({*LABELS, "amount", "weight", *options.pop("exclude", ())} - {target})
    settings = TrainSettings(data=table, target=target, exclude=exclude, models_dir=models_dir)
    return trained(replace(settings, **options))


def shares(artifact: Artifact, table: Path) -> Any:
    """The mean probability of each label, (labels,)."""
    predictor = Predictor.load(artifact)
    answers = predictor.predict(encoded(table, predictor.contract)).probabilities
    assert answers is not None
    return answers.mean(axis=0)


@pytest.mark.parametrize("target", LABELS)
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_a_weight_is_for_the_label_that_it_names(
    table: Path, tmp_path: Path, estimator: str, target: str
) -> None:
    params = SHALLOW.get(estimator, {})
    plain = shares(fitted(table, tmp_path, target, estimator=estimator, params=params), table)
    for at, label in enumerate(LABELS[target]):
        name = label if isinstance(label, str) else str(label).lower()
        weighted = {**params, "class_weight": {name: 20}}
        artifact = fitted(table, tmp_path, target, estimator=estimator, params=weighted)
        gain = shares(artifact, table) - plain
        assert gain[at] > 0.05
        assert (np.delete(gain, at) < 0).all()
        assert artifact.manifest.estimator.params["class_weight"] == {name: 20}


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_balanced_labels_are_evenly_likely(table: Path, tmp_path: Path, estimator: str) -> None:
    params = SHALLOW.get(estimator, {})
    plain = shares(fitted(table, tmp_path, "boolean", estimator=estimator, params=params), table)
    weighted = {**params, "class_weight": "balanced"}
    artifact = fitted(table, tmp_path, "boolean", estimator=estimator, params=weighted)
    assert plain[1] < 0.3
    assert shares(artifact, table)[1] > plain[1] + 0.05


def test_a_forest_may_balance_each_tree_itself(table: Path, tmp_path: Path) -> None:
    params = {"n_estimators": 3, "class_weight": "balanced_subsample"}
    artifact = fitted(table, tmp_path, "text", estimator="random_forest", params=params)
    assert artifact.load_pipeline()[-1].class_weight == "balanced_subsample"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"class_weight": {"tip": 2}}}, "no label 'tip'; did you mean 'top'"),
        ({"params": {"class_weight": {"top": -2}}}, "of 'top' is -2; a weight is a number from 0$"),
        (
            {"params": {"class_weight": {"top": "2"}}},
            "of 'top' is '2'; a weight is a number from 0$",
        ),
        (
            {
                "params": {"class_weight": "balanced"},
                "estimator": "sklearn.neighbors.KNeighborsClassifier",
            },
            "KNeighborsClassifier takes no weights; leave out class_weight and --weight-column",
        ),
        (
            {"params": {"class_weight": "balanced"}, "target": "amount"},
            "no parameter 'class_weight'",
        ),
    ],
)
def test_weights_that_cannot_be_used_are_named(
    table: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        fitted(table, tmp_path, **{"target": "text", **options})


def test_a_pipeline_of_ones_own_that_takes_weights_is_given_them(
    table: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.impute import SimpleImputer\n"
        "from sklearn.tree import DecisionTreeClassifier\n"
        "def build_pipeline(contract, seed):\n"
        "    tree = DecisionTreeClassifier(max_depth=2, random_state=seed)\n"
        "    return make_pipeline(SimpleImputer(), tree, memory=MEMORY)\n"
    )
    text = own.read_text()
    for memory in (None, str(tmp_path / "cache")):
        own.write_text(text.replace("MEMORY", repr(memory)))
        plain = shares(fitted(table, tmp_path, "text", pipeline=own), table)
        weights = {"class_weight": {"top": 20}}
        weighted = shares(fitted(table, tmp_path, "text", pipeline=own, params=weights), table)
        assert weighted[2] > plain[2] + 0.05


def test_an_estimator_of_ones_own_without_weights_says_so(table: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Cautious takes no weights"):
        train(
            TrainSettings(
                data="data/flights_november.csv",
                target="late",
                pipeline=OWN_PIPELINE,
                models_dir=tmp_path,
                params={"class_weight": "balanced"},
            )
        )


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "extra_trees", "ridge"])
def test_a_column_weighs_the_rows(table: Path, tmp_path: Path, estimator: str) -> None:
    """The amount is x where z > 0, where the weights are, and -x elsewhere; z is not a feature."""
    options: dict[str, Any] = {
        "estimator": estimator,
        "params": SHALLOW.get(estimator, {}),
        "exclude": ("z",),
    }
    artifact = fitted(table, tmp_path, "amount", **options)
    settings = replace(
        TrainSettings(data=table, target="amount", models_dir=tmp_path),
        exclude=(*LABELS, "z"),
        estimator=estimator,
        params=options["params"],
        weight_column="weight",
    )
    weighted = ModelStore(tmp_path).artifact("model", train(settings).manifest.version)
    slopes = []
    for each in (artifact, weighted):
        low, high = Predictor.load(each).predict_records([{"x": -1.5}, {"x": 1.5}]).values
        slopes.append(float(high) - float(low))
    assert abs(slopes[0]) < 1
    assert slopes[1] > 1
    assert weighted.manifest.contract.feature_names == ("x",)
    reasons = {column.name: column.reason for column in weighted.manifest.contract.left_out}
    assert reasons["weight"] == "weights the rows"
    assert weighted.manifest.settings["weight_column"] == "weight"
    report = weighted.read("report.md").decode()
    assert "fitted with the weights of weight; the metrics count every held-out row once" in report


def test_weights_of_rows_and_of_labels_multiply(table: Path, tmp_path: Path) -> None:
    double = write_csv(
        tmp_path / "double.csv", ["x", "w", "y"], [[n % 7, 2, n % 3 == 0] for n in range(90)]
    )
    half: dict[str, Any] = {"class_weight": {"true": 0.5, "false": 0.5}}
    settings = TrainSettings(data=double, target="y", models_dir=tmp_path, estimator="logistic")
    plain = train(replace(settings, exclude=("w",)))
    both = train(replace(settings, weight_column="w", params=half))
    assert both.manifest.metrics == plain.manifest.metrics


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (
            ["", "-1"],
            TableError,
            r"^weight column 'w' holds no value in .*: line 2, '-1' in .*: line 3; a",
        ),
        (
            ["-1"] * 9,
            TableError,
            "holds '-1' in .*: line 2, .*: line 4 \\(9 rows in all\\); a weight is",
        ),
        (["heavy"] * 40, TrainingError, "weight column 'w' is category; it must hold numbers"),
        (["0"] * 40, TrainingError, "weight column 'w': no row to fit has a weight above 0"),
    ],
)
def test_rows_without_a_weight_are_named(
    tmp_path: Path, weights: list[str], error: type[Exception], message: str
) -> None:
    rows = [[n % 7, n % 2 == 0, weights[n] if n < len(weights) else 1] for n in range(40)]
    table = write_csv(tmp_path / "table.csv", ["x", "y", "w"], rows)
    settings = TrainSettings(data=table, target="y", models_dir=tmp_path, weight_column="w")
    with pytest.raises(error, match=message):
        train(settings)


def test_a_row_without_a_target_needs_no_weight(tmp_path: Path) -> None:
    rows = [[n % 7, n % 2 == 0, 1] for n in range(40)] + [[3, "", ""]]
    table = write_csv(tmp_path / "table.csv", ["x", "y", "w"], rows)
    result = run_trivet(
        "train", "--data", table, "--target", "y", "--weight-column", "w", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "fitted with the weights of w; the metrics" in result.stdout
