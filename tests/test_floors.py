"""The floors of the house: imports go down, and each leg loads only its own libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trivet
from tests.conftest import NOVEMBER

PACKAGE = Path(trivet.__file__).parent
#: From top to bottom; a module may import from lower floors, and from its own room.
FLOORS = [
    {"__main__"},
    {"cli", "api"},
    {"train", "batch", "online"},
    {"pipeline"},
    {"model"},
    {"rows"},
    {"files", "cpus"},
    {"errors"},
]


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def room(module: str) -> str:
    """The part of the house that a module of the package belongs to."""
    return module.removeprefix("trivet").lstrip(".").split(".")[0]


def imports() -> Iterator[tuple[str, str]]:
    for path in PACKAGE.rglob("*.py"):
        place = room(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("trivet.") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.level:
                raise AssertionError(f"{path}: a relative import")
            elif isinstance(node, ast.ImportFrom) and node.module == "trivet":
                yield from ((place, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trivet."):
                yield place, room(node.module or "")


def test_imports_go_down_only() -> None:
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    found = list(imports())
    assert len(found) > 40
    for importer, imported in found:
        assert importer == imported or floor[importer] < floor[imported], (
            f"{importer} must not import {imported}"
        )


def loaded(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after some code."""
    report = "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def run_main(*options: object) -> str:
    return (
        "from trivet.cli.commands import main\n"
        f"try: main({[str(option) for option in options]!r})\n"
        "except SystemExit as end: assert not end.code"
    )


WEB = {"fastapi", "starlette", "uvicorn"}
SCIENCE = {"sklearn", "scipy", "pandas", "pyarrow", "joblib", "numpy"}


def test_the_contract_needs_pydantic_alone() -> None:
    assert not loaded("import trivet.rows.contract, trivet.rows.values") & (
        WEB | SCIENCE | {"click"}
    )


def test_the_command_itself_loads_no_leg() -> None:
    assert not loaded(run_main("--help")) & (WEB | SCIENCE)


def test_the_api_itself_loads_no_leg() -> None:
    assert not loaded("import trivet.api") & (WEB | SCIENCE | {"click", "orjson"})


def test_records_of_a_compiled_model_are_predicted_by_numpy_alone(flights_store: Path) -> None:
    code = (
        "from trivet.api import load\n"
        f"model = load('flights', models_dir={str(flights_store)!r})\n"
        "assert model.predict(model.contract.example)['prediction'] is False"
    )
    modules = loaded(code)
    assert "numpy" in modules
    assert not modules & ((WEB | SCIENCE) - {"numpy"})


def test_train_loads_no_web_framework(tmp_path: Path) -> None:
    options = ["--target", "late", "--id", "flight_id", "--models-dir", tmp_path]
    modules = loaded(run_main("train", "--data", NOVEMBER, *options))
    assert "sklearn" in modules
    assert not modules & (WEB | {"matplotlib"})


def test_batch_loads_no_web_framework(flights_store: Path, tmp_path: Path) -> None:
    options = ["--model", "flights", "--models-dir", flights_store, "--output", tmp_path / "o.csv"]
    modules = loaded(run_main("batch-predict", "--input", NOVEMBER, *options))
    assert "pyarrow" in modules
    assert not modules & (WEB | {"matplotlib"})


def test_the_service_of_a_compiled_model_loads_numpy_alone(flights_store: Path) -> None:
    code = (
        "import asyncio, sys, trivet.online.server; from pathlib import Path\n"
        "from trivet.online.live_model import LiveModel\n"
        "from trivet.online.metrics import Metrics\n"
        "from trivet.online.settings import ServeSettings\n"
        f"models_dir = Path({str(flights_store)!r})\n"
        "settings = ServeSettings('flights', models_dir=models_dir, reload_every=0)\n"
        "live = LiveModel(settings, Metrics())\n"
        "asyncio.run(live.catch_up()); assert live.ready\n"
        "others = ('trivet.train', 'trivet.batch', 'trivet.rows.columns')\n"
        "assert not [name for name in sys.modules if name.startswith(others)]"
    )
    modules = loaded(code)
    assert {"fastapi", "numpy"} <= modules
    assert not modules & {
        *("sklearn", "scipy", "pandas", "pyarrow", "joblib", "matplotlib", "cryptography")
    }


@pytest.mark.parametrize("leg", ["train", "batch", "online"])
def test_no_import_prints_or_writes(leg: str, tmp_path: Path) -> None:
    code = f"import pkgutil, importlib, trivet.{leg} as leg\n" + (
        "for module in pkgutil.iter_modules(leg.__path__, leg.__name__ + '.'):\n"
        "    importlib.import_module(module.name)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout + result.stderr == ""
    assert list(tmp_path.iterdir()) == []
