"""What a training run says about its table, in Markdown whatever the table holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_trivet, write_csv
from trivet.model.artifact import REPORT
from trivet.model.store import ModelStore
from trivet.train.run import train
from trivet.train.settings import TrainSettings

PENGUINS = ("--data", ROOT / "data/penguins.csv", "--model", "penguins", "--param", "max_iter=5")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["species", "sex"])
def test_cells_that_a_word_makes_missing_are_counted(tmp_path: Path, target: str) -> None:
    columns = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
    cells = ", ".join(f"{column} 2 NA" for column in columns)
    line = f"read as missing (see --na-value): {cells}, sex 11 NA"
    trained = run_trivet("train", *PENGUINS, "--target", target, cwd=tmp_path)
    assert line in trained.stdout.splitlines(), trained.stderr
    assert f"\n\n- {line}\n\n| held-out" in report(tmp_path)


@pytest.mark.slow
def test_a_label_may_be_called_na(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "in.csv", ["country", "x"], [[("NA", "DE")[n % 2], n % 9] for n in range(80)]
    )
    options = ("--data", "in.csv", "--target", "country", "--param", "max_iter=5")
    refused = run_trivet("train", *options, cwd=tmp_path)
    assert "has 1 label(s)" in refused.stderr
    trained = run_trivet("train", *options, "--na-value", "", cwd=tmp_path)
    assert "read as missing" not in trained.stdout
    assert trained.returncode == 0, trained.stderr
    shown = run_trivet("models", "show", cwd=tmp_path).stdout
    assert "Classification of country" in shown


def test_no_column_is_left_out(tmp_path: Path) -> None:
    run_trivet("train", *PENGUINS, "--target", "species", cwd=tmp_path)
    assert "## Left out\n\nNone." in report(tmp_path)


def report(folder: Path) -> str:
    return run_trivet("models", "show", "--model", "penguins", cwd=folder).stdout


HOSTILE = ["a|b", "two\nlines", "`code`", "back\\slash", "<b>", "*", "\u2028", "plain é"]


def test_names_and_categories_do_not_break_the_tables(tmp_path: Path) -> None:
    feature, target, left_out = "fea|ture\nof `x`", "tar`get\n# no title", "same|\n- always"
    rows = [[HOSTILE[n % 8], n % 7, 1, n % 2, n] for n in range(80)]
    table = write_csv(tmp_path / "table.csv", [feature, "x", left_out, target, "id\n|"], rows)
    settings = TrainSettings(table, target, identifiers=("id\n|",), models_dir=tmp_path / "models")
    train(settings)
    report = ModelStore(tmp_path / "models").artifact("model").read(REPORT).decode()
    lines = report.split("\n")
    assert report.splitlines() == lines[:-1], "no other ends of lines"
    headings = [line for line in lines if line.startswith("#")][1:]
    assert headings == ["## Estimator", "## Features", "## Left out"]
    assert len(lines[lines.index("## Left out") :]) == 2 + 2 + 1
    tables = [line for line in lines if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", line)) - 1 for line in tables]
    assert sorted(set(columns)) == [3, 4]
    assert columns.count(4) == 2 + 2
    assert not re.search(r"(?<!\\)[`<]", re.sub(r"(?m)^- \w+: `[^`]*`$", "", report))
    for shown in (r"a\|b", r"two\\nlines", r"\`code\`", r"back\\slash", "plain é"):
        assert shown in report
