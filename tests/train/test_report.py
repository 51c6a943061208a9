"""What a training run says about its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, run_trivet

PENGUINS = ("--data", ROOT / "data/penguins.csv", "--model", "penguins", "--param", "max_iter=5")


@pytest.mark.parametrize("target", ["species", "sex"])
def test_a_word_for_missing_that_is_a_category_is_named(tmp_path: Path, target: str) -> None:
    line = "sex: NA is a category, not a missing value; leave a cell empty if its value is missing"
    trained = run_trivet("train", *PENGUINS, "--target", target, cwd=tmp_path)
    assert line in trained.stdout.splitlines(), trained.stderr
    assert f"\n\n- {line}\n\n| held-out" in report(tmp_path)


def test_no_column_is_left_out(tmp_path: Path) -> None:
    run_trivet("train", *PENGUINS, "--target", "species", cwd=tmp_path)
    assert "## Left out\n\nNone." in report(tmp_path)


def report(folder: Path) -> str:
    return run_trivet("models", "show", "--model", "penguins", cwd=folder).stdout
