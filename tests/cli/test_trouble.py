"""A package that is missing: one line that says what to install, and where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FLIGHTS, copy_checkout
from trivet.cli.trouble import missing_package

TRAIN = ["train", "--data", str(FLIGHTS.data), "--target", "late"]
CODE = "import sys; sys.modules['pyarrow'] = None; from trivet.cli.commands import main; main()"


def run_without_pyarrow(cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *TRAIN],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_checkout_names_make_setup(tmp_path: Path) -> None:
    result = run_without_pyarrow(tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "Error: pyarrow is not installed: make setup, or pip install -e '.[train]'\n"
    )


def test_an_installed_package_names_its_extra(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")  # pip builds in the folder itself
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(tmp_path / "installed")]
    subprocess.run([*pip, *options, checkout], check=True)
    result = run_without_pyarrow(tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    assert result.returncode == 1
    assert result.stderr == "Error: pyarrow is not installed: pip install 'trivet[train]'\n"


@pytest.mark.parametrize(
    ("module", "command", "fix"),
    [
        ("sklearn", "train", "make setup, or pip install -e '.[train]'"),
        ("pyarrow", "batch-predict", "make setup, or pip install -e '.[batch]'"),
        ("distributed", "batch-predict", "make setup, or pip install -e '.[cluster]'"),
        ("fastapi", "serve", "make setup, or pip install -e '.[online]'"),
        ("fastapi_swagger", "serve", "make setup, or pip install -e '.[online]'"),
        ("cryptography", "serve", "make setup, or pip install -e '.[sign]'"),
        ("pandas", "serve", "make setup, or pip install -e '.[pipeline]'"),
        ("lightgbm", "train", "pip install lightgbm"),
    ],
)
def test_the_extra_is_the_one_that_the_command_needs(module: str, command: str, fix: str) -> None:
    assert missing_package(module, command) == f"{module} is not installed: {fix}"
