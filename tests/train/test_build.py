"""Pipelines of a user's own: built, sealed into the model, and found again where it is used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trivet
from tests.conftest import (
    FLIGHTS,
    NOVEMBER,
    OWN_PIPELINE,
    ROOT,
    encoded,
    read_csv,
    run_trivet,
    serving,
    trained,
)
from trivet.errors import ArtifactError, SettingsError, TrainingError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore

SCIKIT_LEARN = "sklearn.ensemble.GradientBoostingClassifier"
MINIMAL = """
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

def scaled(frame):
    return frame * 1

def build_pipeline(contract):
    numbers = make_column_transformer((FunctionTransformer(scaled), ["dep_delay"]))
    return make_pipeline(numbers, DecisionTreeClassifier(max_depth=2))
"""


def own(folder: Path, **options: Any) -> Artifact:
    """A model of November's flights, in a store in this folder."""
    return trained(replace(FLIGHTS, data=NOVEMBER, models_dir=folder / "models", **options))


def written(folder: Path, source: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "my_pipeline.py"
    path.write_text(source)
    return path


@pytest.mark.slow
def test_a_pipeline_of_ones_own_is_found_by_every_leg(tmp_path: Path) -> None:
    shutil.copy(OWN_PIPELINE, tmp_path / "my_pipeline.py")
    (tmp_path / "trivet.toml").write_text(
        f'model = "flights"\n[train]\ndata = "{NOVEMBER}"\ntarget = "late"\nid = ["flight_id"]\n'
        'time-column = "time_hour"\npipeline = "my_pipeline.py"\n[train.params]\ncaution = 0.2\n'
    )
    result = run_trivet("train", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    pipeline = ModelStore(tmp_path / "models").artifact("flights").load_pipeline()
    assert pipeline[-1].caution == 0.2
    (tmp_path / "my_pipeline.py").unlink()  # the model holds it

    result = run_trivet("batch-predict", "--input", NOVEMBER, "--output", "o.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    in_batch = [float(row["probability_true"]) for row in read_csv(tmp_path / "o.csv")]
    predictor = Predictor.load(ModelStore(tmp_path / "models").artifact("flights"))
    expected = predictor.predict(encoded(NOVEMBER, predictor.contract)).probabilities
    assert expected is not None
    assert np.allclose(in_batch, expected[:, 1], rtol=1e-9, atol=0)

    record = json.loads((ROOT / "data/flight.json").read_bytes())
    with serving(cwd=tmp_path) as server:
        status, answer = server.post("/predict", record)
    assert status == 200
    alone = predictor.predict_records([record]).probabilities
    assert alone is not None
    assert answer["predictions"][0]["probabilities"]["true"] == pytest.approx(alone[0, 1])


@pytest.mark.slow
def test_the_packages_own_file_may_be_replaced(tmp_path: Path) -> None:
    package = Path(shutil.copytree(Path(trivet.__file__).parent, tmp_path / "copy/trivet"))
    shutil.copy(OWN_PIPELINE, package / "pipeline.py")

    def run(*options: str | Path) -> str:
        result = subprocess.run(
            [sys.executable, "-c", "from trivet.cli.commands import main; main()", *options],
            cwd=tmp_path / "copy",
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "published model" in run("train", "--data", NOVEMBER, "--target", "late")
    shutil.rmtree(package)  # another image, with another file, uses what the model holds
    shutil.copytree(Path(trivet.__file__).parent, package)
    run("batch-predict", "--input", NOVEMBER, "--output", "o.csv")
    assert len(read_csv(tmp_path / "copy/o.csv")) == 5000
    assert "- caution: `0.1`" in run("models", "show")


def test_a_changed_file_in_a_model_is_not_run(tmp_path: Path) -> None:
    artifact = own(tmp_path, pipeline=written(tmp_path, MINIMAL))
    code = artifact.path / "pipeline.py"
    code.write_text(code.read_text() + "\nraise SystemExit('it ran')\n")
    with pytest.raises(ArtifactError, match=r"pipeline\.py: its SHA-256 is not the one"):
        Predictor.load(artifact)


def test_models_of_different_files_are_used_side_by_side(tmp_path: Path) -> None:
    one = own(tmp_path / "a", pipeline=written(tmp_path / "a", MINIMAL))
    other = MINIMAL.replace("frame * 1", "frame * 0")
    two = own(tmp_path / "b", pipeline=written(tmp_path / "b", other))
    first, second = Predictor.load(one), Predictor.load(two)
    rows = encoded(NOVEMBER, first.contract)
    assert len(set(first.predict(rows).values)) == 2
    assert len(set(second.predict(rows).values)) == 1


def test_an_edit_makes_a_new_version_and_a_comment_does_not(tmp_path: Path) -> None:
    first = own(tmp_path, pipeline=written(tmp_path, MINIMAL))
    same = own(tmp_path, pipeline=written(tmp_path, f"# Shallow.\n{MINIMAL}"))
    other = MINIMAL.replace("max_depth=2", "max_depth=3")
    edited = own(tmp_path, pipeline=written(tmp_path, other))
    assert same.manifest.version == first.manifest.version != edited.manifest.version


@pytest.mark.slow
def test_a_search_over_ones_own_steps_may_use_processes(tmp_path: Path) -> None:
    source = MINIMAL.replace(
        "return make_pipeline(numbers, DecisionTreeClassifier(max_depth=2))",
        "from sklearn.model_selection import GridSearchCV\n"
        "    pipeline = make_pipeline(numbers, DecisionTreeClassifier())\n"
        "    grid = {'decisiontreeclassifier__max_depth': [1, 2]}\n"
        "    return GridSearchCV(pipeline, grid, n_jobs=2, cv=2)",
    )
    artifact = own(tmp_path, pipeline=written(tmp_path, source))
    assert artifact.manifest.estimator.name == "GridSearchCV"
    assert artifact.manifest.not_compiled == (
        "GridSearchCV: not a pipeline of features and estimator"
    )
    record = artifact.manifest.contract.example
    assert len(Predictor.load(artifact).predict_records([record]).values) == 1


def test_a_function_of_ones_own_may_come_back_from_processes(tmp_path: Path) -> None:
    source = MINIMAL.replace('["dep_delay"]))', '["dep_delay"]), n_jobs=2)')
    source = source.replace("scaled), [", "scaled), ['distance']), (FunctionTransformer(scaled), [")
    artifact = own(tmp_path, pipeline=written(tmp_path, source))
    record = artifact.manifest.contract.example
    assert len(Predictor.load(artifact).predict_records([record]).values) == 1


OWN_ESTIMATOR = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier, DummyRegressor

LEARNT = {}

class Own(ClassifierMixin, BaseEstimator):
    def fit(self, frame, labels):
        self.inner_ = DummyClassifier().fit(frame, labels)
        self.classes_ = self.inner_.classes_
        LEARNT["step"] = 1
        return self

    def predict_proba(self, frame):
        shares = self.inner_.predict_proba(frame)
        return shares

class OwnNumbers(RegressorMixin, BaseEstimator):
    def fit(self, frame, numbers):
        self.inner_ = DummyRegressor().fit(frame, numbers)
        return self

    def predict(self, frame):
        return self.inner_.predict(frame)[:, None]

def build_pipeline(contract):
    return Own() if contract.target.labels else OwnNumbers()
"""


@pytest.mark.parametrize(
    "given",
    ["shares.tolist()", "shares.astype('float32')", "__import__('pandas').DataFrame(shares)"],
)
def test_probabilities_may_be_a_list_or_a_frame(tmp_path: Path, given: str) -> None:
    source = OWN_ESTIMATOR.replace("return shares", f"return {given}")
    predictor = Predictor.load(own(tmp_path, pipeline=written(tmp_path, source)))
    answer = predictor.predict_records([predictor.contract.example])
    assert answer.probabilities is not None
    assert answer.probabilities.sum() == pytest.approx(1)


def test_a_regressor_may_answer_with_a_column(tmp_path: Path) -> None:
    options = {"target": "dep_delay", "pipeline": written(tmp_path, OWN_ESTIMATOR)}
    predictor = Predictor.load(own(tmp_path, **options))
    (answer,) = predictor.predict_records([predictor.contract.example]).values
    assert isinstance(answer, float)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return shares", "return shares[:, 1:]", r"in the shape \(\d+, 1\), not \(\d+, 2\)"),
        ("return shares", "return shares[:1]", r"in the shape \(1, 2\), not \(\d+, 2\)"),
        ("return shares", "return np.hstack([shares, shares])", r"in the shape \(\d+, 4\), not"),
        ("return shares", "return shares * np.nan", "can't predict held-out rows: .*NaN"),
        ("self.inner_.classes_", "self.inner_.classes_[::-1]", r"this order: \[False, True\]$"),
        ("self.inner_ =", "self.x = lambda: 1; self.inner_ =", "can't be saved .* use no lambda"),
        (
            "return shares",
            "return np.random.dirichlet([1, 1], len(shares))",
            "draw nothing at random",
        ),
        ("return shares", "return shares[:, :: LEARNT.get('step', -1)]", "not in globals"),
    ],
)
def test_what_cannot_be_used_is_not_published(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    source = OWN_ESTIMATOR.replace(old, new)
    with pytest.raises(TrainingError, match=message):
        own(tmp_path, pipeline=written(tmp_path, source))
    assert ModelStore(tmp_path / "models").names() == []


def test_a_pipeline_must_be_able_to_predict_unseen_categories(tmp_path: Path) -> None:
    source = MINIMAL.replace('FunctionTransformer(scaled), ["dep', 'OneHotEncoder(), ["car')
    source = source.replace("car_delay", "carrier").replace(
        "import FunctionTransformer", "import OneHotEncoder"
    )
    with pytest.raises(
        TrainingError, match=r"can't predict rows with .* did not see: Found unknown"
    ):
        own(tmp_path, pipeline=written(tmp_path, source))


def test_the_report_names_the_estimator_that_was_fitted(tmp_path: Path) -> None:
    artifact = own(tmp_path, estimator=SCIKIT_LEARN, params={"n_estimators": 3})
    facts = artifact.manifest.estimator
    assert (facts.name, facts.params["n_estimators"]) == ("GradientBoostingClassifier", 3)
    shown = run_trivet("models", "show", "--model", "flights", cwd=tmp_path).stdout
    assert "Classification of late by GradientBoostingClassifier, trained" in shown
    assert "- n_estimators: `3`" in shown
    assert "- random_state: `0`" in shown
    assert "hist_gradient_boosting" not in shown


def test_features_can_be_chosen_for_an_estimator(tmp_path: Path) -> None:
    estimator = "sklearn.naive_bayes.GaussianNB"
    artifact = own(tmp_path, estimator=estimator, features="scaled")
    assert "StandardScaler" in repr(artifact.load_pipeline()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "absent.Forest"}, "No module named 'absent'; pip install absent$"),
        (
            {"estimator": "sklearn.ensembel.X"},
            "No module named 'sklearn.ensembel'; check its path, and what",
        ),
        ({"estimator": "sklearn.svm.SVCC"}, "no such class; did you mean 'SVC'"),
        ({"estimator": "sklearn.linear_model.Ridge"}, "is not an estimator for classification$"),
        ({"estimator": "pathlib.Path"}, "is not an estimator for classification$"),
        ({"estimator": "sklearn.ensemble.VotingClassifier"}, "made without arguments .*--pipeline"),
        ({"estimator": ".Forest"}, "'.Forest': write it as package.Class$"),
        ({"estimator": "sklearn.svm.LinearSVC"}, "no predict_proba; .*CalibratedClassifierCV"),
        ({"features": "scald"}, "no features 'scald'; did you mean 'scaled'"),
        ({"pipeline": Path("absent.py")}, "^absent.py: can't be read .* check --pipeline"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        own(tmp_path, **options)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (MINIMAL, {"estimator": "ridge"}, "takes no 'estimator', so --estimator has no effect"),
        (MINIMAL, {"params": {"x": 1}}, "takes no 'params', so --param has no effect"),
        ("import my_features", {}, "No module named 'my_features'.*move that into this file"),
        ("def build_pipeline(:", {}, r"my_pipeline\.py, line 1: "),
        ("x = 1", {}, "no function build_pipeline in it"),
        ("def build_pipeline(contract): pass", {}, "returned None; return a scikit-learn"),
        ("def build_pipeline(): pass", {}, r"build_pipeline\(\) can't be called"),
        ("def build_pipeline(contract, depth): pass", {}, "can't be called .*'depth'.* a default"),
        ("raise SystemExit(0)", {}, "it ends the process when it is imported"),
        ("x = 1\0", {}, r"my_pipeline\.py: source code string cannot contain null bytes"),
    ],
)
def test_what_a_file_lacks_is_one_clear_error(
    tmp_path: Path, source: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        own(tmp_path, pipeline=written(tmp_path, source), **options)


def test_a_fault_in_ones_own_code_is_shown_where_it_is(tmp_path: Path) -> None:
    source = MINIMAL.replace("frame * 1", "frame['no such column']")
    written(tmp_path, source)
    table = ("--data", NOVEMBER, "--target", "late")
    result = run_trivet("train", *table, "--pipeline", "my_pipeline.py", cwd=tmp_path)
    assert 'File "my_pipeline.py", line 8, in scaled' in result.stderr
    assert "KeyError: 'no such column'" in result.stderr
    assert not list((tmp_path / "models").glob("*/*"))
