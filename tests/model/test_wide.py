"""A category of ten thousand levels is light to learn, and answered as its pipeline does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import encoded, write_csv
from trivet.model.artifact import Artifact
from trivet.model.compiled import CompiledPipeline
from trivet.model.fitted import FittedPipeline
from trivet.model.predictor import TOLERANCE
from trivet.model.store import ModelStore
from trivet.rows.values import UNSEEN
from trivet.train.run import train
from trivet.train.settings import TrainSettings


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30,000 rows, a category of 10,000 levels that both targets depend on."""
    random = np.random.default_rng(0)
    levels = random.integers(10_000, size=30_000)
    effects = random.normal(size=10_000)
    x = random.normal(size=30_000)
    y = effects[levels] + x + random.normal(size=30_000) / 2
    rows = [
        [f"c{level}", each, number > 0, number]
        for level, each, number in zip(levels, x, y, strict=True)
    ]
    return write_csv(tmp_path_factory.mktemp("wide") / "wide.csv", ["c", "x", "yes", "y"], rows)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "target"), [("logistic", "yes"), ("ridge", "y")])
def test_ten_thousand_levels_are_light(
    wide: Path, tmp_path: Path, estimator: str, target: str
) -> None:
    other = ({"yes", "y"} - {target}).pop()
    program = (
        "from pathlib import Path\nfrom trivet.train.run import train\n"
        "from trivet.train.settings import TrainSettings\n"
        f"train(TrainSettings(data={str(wide)!r}, target={target!r}, estimator={estimator!r},"
        f" exclude=[{other!r}], models_dir={str(tmp_path)!r}))\n"
        "status = Path('/proc/self/status').read_text()\n"  # a peak that getrusage inherits
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[-1]) < 500_000  # KiB
    artifact = ModelStore(tmp_path).artifact("model")
    assert artifact.manifest.not_compiled is None
    compiled = CompiledPipeline.load(artifact.verify())
    assert len(compiled.spec.features) == 2
    agrees(artifact, wide)
    better = artifact.manifest.metrics, artifact.manifest.baseline
    key = "r2" if target == "y" else "roc_auc"
    scores = [each[key] for each in better]
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0] > scores[1] + 0.3


def agrees(artifact: Artifact, table: Path) -> None:
    rows = encoded(table, artifact.manifest.contract)[:3000]
    rows[::5, 0], rows[1::5, 0] = UNSEEN, np.nan
    compiled = CompiledPipeline.load(artifact.verify())
    fitted = FittedPipeline(artifact.manifest.contract, artifact.load_pipeline())
    np.testing.assert_allclose(compiled.answers(rows), fitted.answers(rows), rtol=TOLERANCE, atol=0)


def test_a_level_of_one_row_is_answered_as_an_unseen_one(tmp_path: Path) -> None:
    rows: list[list[object]] = [["ab"[n % 2], n % 7, n % 2 + n % 7 / 10] for n in range(100)]
    rows += [[f"once {n}", 1, 9] for n in range(40)]
    table = write_csv(tmp_path / "table.csv", ["c", "x", "y"], rows)
    for features, estimator in (("scaled", "ridge"), ("scaled", "random_forest")):
        settings = TrainSettings(data=table, target="y", models_dir=tmp_path, model=estimator)
        train(replace(settings, estimator=estimator, features=features))
        artifact = ModelStore(tmp_path).artifact(estimator)
        assert artifact.manifest.not_compiled is None
        agrees(artifact, table)
        once = artifact.manifest.contract.columns[0].categories.index("once 1")
        known, unseen, other = CompiledPipeline.load(artifact.verify()).answers(
            np.array([[once, 1.0], [UNSEEN, 1.0], [0, 1.0]])
        )
        assert known == unseen
        assert other < unseen - 2


def test_a_one_hot_encoding_too_wide_for_trees_is_not_compiled(tmp_path: Path) -> None:
    rows = [[f"c{n % 1500}", n % 7, n % 3] for n in range(30_000)]
    table = write_csv(tmp_path / "table.csv", ["c", "x", "y"], rows)
    settings = TrainSettings(
        data=table, target="y", models_dir=tmp_path, params={"n_estimators": 2}
    )
    manifest = train(replace(settings, estimator="random_forest", features="scaled")).manifest
    assert manifest.not_compiled == "features: a one-hot encoding of 1,502 values in 1,500 features"
