"""Which rows are held out: by time, by group or by chance, and where labels are rare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import run_trivet, write_csv
from trivet.errors import SettingsError, TableError, TrainingError
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.train.run import train
from trivet.train.settings import TrainSettings

Learn = Callable[..., Manifest]


@pytest.fixture
def learn(tmp_path: Path) -> Learn:
    """Trains on rows of (t, x, y)."""

    def learn(
        rows: list[list[object]], header: Sequence[str] = ("t", "x", "y"), **options: Any
    ) -> Manifest:
        table = write_csv(tmp_path / "table.csv", header, rows)
        settings = {"estimator": "logistic", "models_dir": tmp_path / "models", **options}
        return train(TrainSettings(table, "y", **settings)).manifest

    return learn


def rows_of(*labels: tuple[str, int]) -> list[list[object]]:
    """Rows with these labels, each so often, mixed."""
    every = [label for label, count in labels for _ in range(count)]
    order = np.random.default_rng(0).permutation(len(every))
    return [[n, float(at % 7) + (every[at] == "a"), every[at]] for n, at in enumerate(order)]


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "logistic", "random_forest"])
def test_a_label_with_few_rows_is_fitted_and_not_held_out(learn: Learn, estimator: str) -> None:
    manifest = learn(rows_of(("a", 7000), ("b", 7000), ("rare", 2)), estimator=estimator)
    assert manifest.contract.target.labels == ("a", "b", "rare")
    assert manifest.data.rows.held_out == 2800
    assert manifest.warnings == (
        "label rare: all of its 2 rows are fitted, so nothing is measured on it",
    )


def test_a_label_with_one_row_is_dropped_and_named(learn: Learn, tmp_path: Path) -> None:
    manifest = learn(rows_of(("a", 200), ("b", 200), ("lonely", 1)))
    assert manifest.contract.target.labels == ("a", "b")
    assert manifest.warnings == ("label lonely: its only row is dropped; a label needs two",)
    assert manifest.data.rows.without_target == 1
    predictor = Predictor.load(ModelStore(tmp_path / "models").artifact("model"))
    assert set(predictor.predict_records([{"t": 1, "x": 1.5}]).values) <= {"a", "b"}


def test_a_label_that_only_the_future_has_is_fitted(learn: Learn) -> None:
    rows = [[n, n % 5 + 0.5, "new" if n > 190 else "ab"[n % 2]] for n in range(200)]
    manifest = learn(rows, time_column="t")
    assert manifest.contract.target.labels == ("a", "b", "new")
    assert "label new: all of its 9 rows are fitted" in manifest.warnings[0]
    assert manifest.data.rows.held_out == 40 - 9


def test_of_ties_in_time_the_last_moment_is_held_out(learn: Learn) -> None:
    rows = [[min(n // 10, 12), n % 5 + 0.5, "ab"[n % 2]] for n in range(200)]
    assert learn(rows, time_column="t").data.rows.held_out == 80  # of moment 12
    assert learn(rows[:160], time_column="t").data.rows.held_out == 40  # and no part of moment 11


def test_one_moment_for_all_is_an_error(learn: Learn) -> None:
    rows = [[7, n % 5 + 0.5, "ab"[n % 2]] for n in range(100)]
    with pytest.raises(TrainingError, match="same moment in every row; leave out --time-column"):
        learn(rows, time_column="t")


@pytest.mark.parametrize("name", ["customer {}", "{}", "{}.5"])
def test_a_group_is_on_one_side_of_the_split(learn: Learn, name: str) -> None:
    # Each group has a label of its own, which nothing but the group tells.
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 60)
    rows: list[list[object]] = [
        [name.format(n % 60), n % 60 + random.random() / 9, "ab"[label[n % 60]]]
        for n in range(1200)
    ]
    torn = learn(rows, estimator="random_forest", exclude=["t"])
    whole = learn(rows, estimator="random_forest", group_column="t")
    assert whole.data.rows.held_out == 12 * 20
    assert [(column.name, column.reason) for column in whole.contract.left_out] == [
        ("t", "keeps rows together in the split")
    ]
    assert (torn.metrics["accuracy"] or 0) > 0.95
    assert (whole.metrics["accuracy"] or 0) < 0.8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"group_column": "t", "time_column": "x"}, SettingsError, "give one of them"),
        ({"group_column": "tt"}, TableError, "no column 'tt'; did you mean 't'"),
        ({"group_column": "x"}, TrainingError, r"of 1 group\(s\) leaves a part without any"),
        ({"group_column": "t", "held_out": 0.99}, TrainingError, "of 9 group.* change the share"),
    ],
)
def test_groups_that_cannot_be_held_out_are_named(
    learn: Learn, options: dict[str, str], error: type[Exception], message: str
) -> None:
    rows: list[list[object]] = [[n % 9, 1, "ab"[n % 2]] for n in range(60)]
    with pytest.raises(error, match=message):
        learn(rows, **options)


def test_a_small_held_out_part_is_said(learn: Learn) -> None:
    manifest = learn(rows_of(("a", 60), ("b", 60)))
    assert manifest.warnings == ("only 24 rows are held out: the metrics are rough",)


def test_few_rows_with_many_labels_are_split_all_the_same(learn: Learn) -> None:
    manifest = learn(rows_of(*((label, 6) for label in "abcdefghij")), held_out=0.1)
    assert manifest.data.rows.held_out > 0
    assert len(manifest.contract.target.labels) == 10


def test_a_target_of_names_is_not_learnt_as_labels(learn: Learn) -> None:
    rows: list[list[object]] = [[n, n % 7, f"order {n % 398}"] for n in range(400)]
    with pytest.raises(TrainingError, match=r"target 'y' is an identifier .* 398 different values"):
        learn(rows)


@pytest.mark.slow
def test_counts_taken_for_labels_are_said_aloud(tmp_path: Path) -> None:
    rows = [[n % 7 + 0.5, n % 11] for n in range(400)]
    write_csv(tmp_path / "table.csv", ["x", "y"], rows)
    said = "warning: classification of 11 labels; --task regression if these are amounts"
    trained = run_trivet("train", "--data", "table.csv", "--target", "y", cwd=tmp_path)
    assert said in trained.stdout.splitlines(), trained.stderr
    assert f"- {said}" in run_trivet("models", "show", cwd=tmp_path).stdout
    meant = run_trivet(
        *("train", "--data", "table.csv", "--target", "y", "--task", "classification"), cwd=tmp_path
    )
    assert said not in meant.stdout


@pytest.mark.parametrize(("first", "name"), [(1, "t"), (0, "t"), (5, "rownames")])
def test_numbers_of_rows_are_no_feature(learn: Learn, first: int, name: str) -> None:
    rows: list[list[object]] = [[n + first, n * 3 % 7, n / 400] for n in range(400)]
    manifest = learn(rows, estimator="ridge", header=[name, "x", "y"])
    assert manifest.contract.feature_names == ("x",)
    assert "an identifier in disguise: " in manifest.contract.left_out[0].reason
    assert (manifest.metrics["r2"] or 0) < 0.1


def test_years_in_a_row_are_a_feature(learn: Learn) -> None:
    rows: list[list[object]] = [[1871 + n, n * 3 % 7, n / 100] for n in range(100)]
    assert learn(rows, estimator="ridge").contract.feature_names == ("t", "x")


def test_a_model_worse_than_its_baseline_says_so(learn: Learn) -> None:
    random = np.random.default_rng(0)
    rows: list[list[object]] = [
        [n % 9, random.random(), "ab"[int(random.random() < 0.5)]] for n in range(300)
    ]
    warnings = learn(rows, estimator="random_forest", params={"n_estimators": 5}).warnings
    assert any("worse than the baseline: " in line and "log_loss" in line for line in warnings)


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_learnt_and_publishes_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows: list[list[object]] = [
        [f"order {n}", f"${n % 90 + 1},000", random.choice(["a", ""]), n % 3] for n in range(300)
    ]
    write_csv(tmp_path / "table.csv", ["order", "price", "group", "y"], rows)
    options = ("--data", "table.csv", "--target", "y", "--dry-run")
    said = run_trivet("train", *options, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "classification of y: 0, 1, 2 (it has at most 20 different whole numbers)",
        "300 rows: 240 to fit, 60 held out (drawn at random), 0 dropped: no target value",
        "warning: classification of 3 labels; --task regression if these are amounts",
        "left out order: an identifier in disguise: 240 different values in 240 rows "
        "(--kind order=category keeps it)",
        "",
        "| feature | kind | missing | range or categories |",
        "|---|---|---:|---|",
        "| price | number | 0.0% | 1000.0 to 90000.0 |",
        said.stdout.splitlines()[8],
        "",
        "nothing was trained: --dry-run",
    ]
    assert said.stdout.splitlines()[8].startswith("| group | category | ")
    assert not (tmp_path / "models").exists()
    wrong = run_trivet("train", *options, "--estimator", "ridge", cwd=tmp_path)
    assert "'ridge' is not an estimator for classification" in wrong.stderr
