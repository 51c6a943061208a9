"""What renames a version: the code that shapes a model, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import trivet
from trivet.train.version import code_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(trivet.__file__).parent, tmp_path / "trivet"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("cli/options.py", "The model's name.", "What the model is called."),
        ("model/store.py", "no model in this store", "the store is empty"),
        ("train/report.py", "## Features", "## The features"),
        ("batch/run.py", "started = time", "begun = time"),
        ("rows/values.py", '"""Values as numbers', '"""How values become numbers'),
        ("rows/values.py", "#: The most faults", "#: At most so many faults"),
    ],
)
def test_an_edit_that_shapes_no_model_changes_nothing(
    package: Path, name: str, old: str, new: str
) -> None:
    before = code_digest(package)
    edit(package / name, old, new)
    assert code_digest(package) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("pipeline.py", "max_categories=255", "max_categories=25"),
        ("rows/contract.py", '"N/A"', '"N/A", "?"'),
        ("model/trees.py", "FEW_ROWS = 16", "FEW_ROWS = 17"),
        ("train/target.py", "MOST_LABELS = 20", "MOST_LABELS = 30"),
        ("train/compile/boosting.py", "BITS = 64", "BITS = 32"),
    ],
)
def test_an_edit_that_may_shape_a_model_renames_it(
    package: Path, name: str, old: str, new: str
) -> None:
    before = code_digest(package)
    edit(package / name, old, new)
    assert code_digest(package) != before


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
