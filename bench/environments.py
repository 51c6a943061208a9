"""The environments of the peers, kept in a cache beside the code, for `bench/online.py`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from contestants import CACHE, MLFLOW_MODEL, OWN, PEERS, ROOT, Contestant, Row

#: What speaks HTTP in every environment, asked for by its peer or not, so that none lacks it.
HTTP = ("uvicorn[standard]==0.54.0", "httptools==0.9.0", "pydantic==2.14.3")
#: What an environment holds beside that and the libraries that the model was fitted with.
PACKAGES = {
    "mlflow": ("mlflow==3.17.2", "fastapi==0.165.0", "uvloop==0.23.0"),
    "bentoml": ("bentoml==1.4.39", "starlette==1.10.0", "uvloop==0.23.0"),
    # With a newer uvloop its worker process ends as soon as it is started.
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0"),
    "litserve": ("litserve==0.2.19", "fastapi==0.165.0", "pyzmq==27.3.0", "uvloop==0.23.0"),
    "fastapi": ("fastapi==0.165.0", "uvloop==0.23.0"),
}
#: What the results name, where an environment has it.
SHOWN = ("mlflow", "bentoml", "mlserver", "mlserver-sklearn", "litserve", "fastapi", "starlette")
SHOWN += ("uvicorn", "uvloop", "httptools", "pydantic", "scikit-learn", "numpy", "pandas")
UV = str(OWN / "bin/uv")


def install(environment: str, libraries: Mapping[str, str]) -> None:
    """Make an environment, unless there is one of the same packages."""
    home = CACHE / environment
    fitted = [f"{name}=={version}" for name, version in libraries.items() if name != "python"]
    wanted = [*fitted, *HTTP, *PACKAGES[environment]]
    stamp = home / "requirements.txt"
    if stamp.exists() and stamp.read_text().split() == wanted:
        return
    print(f"installing {environment}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([UV, "-q", "venv", "--python", str(OWN / "bin/python"), str(home)], check=True)
    into = [UV, "-q", "pip", "install", "--python", str(home), "--compile-bytecode"]
    subprocess.run([*into, *wanted], check=True)
    # The pickled pipeline refers to functions of this package.
    subprocess.run([*into, "--no-deps", "--editable", str(ROOT)], check=True)
    stamp.write_text("\n".join(wanted) + "\n")


def versions(environment: str | None) -> str:
    """The versions of what matters in an environment; None is the project's own."""
    home = CACHE / environment if environment else OWN
    listing = [UV, "pip", "list", "--format", "json", "--python", str(home)]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    found = {package["name"]: package["version"] for package in json.loads(done.stdout)}
    return ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)


def save_for_mlflow(contestant: Contestant, model: Path, rows: list[Row]) -> None:
    """Write the pipeline in the format that `mlflow models serve` reads."""
    shutil.rmtree(MLFLOW_MODEL, ignore_errors=True)
    example = CACHE / "example.json"
    example.write_text(json.dumps(rows))
    program = [contestant.bin / "python", PEERS / contestant.source, MLFLOW_MODEL, example]
    done = subprocess.run(
        [*map(str, program)],
        env=contestant.variables(model, 0, 0),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{contestant.source}: {done.stderr}")
