"""A service with a key to verify by, and one that cannot unpickle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import serving, wait_until
from tests.model.test_trust import seal_again
from tests.online.test_faults import FLIGHT, MANY, live_version, metrics, options, ready_workers
from trivet.model import keys
from trivet.model.artifact import Artifact
from trivet.model.store import ModelStore
from trivet.model.trust import SIGNATURE

pytestmark = pytest.mark.slow


@pytest.fixture
def store(two_versions: ModelStore, tmp_path: Path, key: Path) -> ModelStore:
    """Two versions; the first is signed and current."""
    store = ModelStore(tmp_path / "models")
    shutil.copytree(two_versions.root, store.root)
    first = store.versions("flights")[0]
    store.sign("flights", first, keys.Signer(key).sign)
    store.promote("flights", first)
    return store


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_new_version_without_a_signature_is_not_taken(
    store: ModelStore, key: Path, tmp_path: Path, workers: str
) -> None:
    good, unsigned = store.versions("flights")
    more = ("--reload-every", "0.1", "--verify-key", f"{key}.pub", "--workers", workers)
    with serving(*options(store, *more), cwd=tmp_path) as server:
        wait_until(lambda: ready_workers(server) == int(workers))
        store.promote("flights", unsigned)
        wait_until(lambda: json.loads(server.get("/model")[1])["not_reloaded"] is not None)
        model = json.loads(server.get("/model")[1])
        assert model["version"] == good
        assert f"{unsigned}/{SIGNATURE}: can't be read" in model["not_reloaded"]
        assert server.get("/health/ready")[0] == 200
        assert server.post("/predict", FLIGHT)[0] == 200
        failed = 'trivet_reloads_total{outcome="failed"}'
        wait_until(lambda: metrics(server)[failed] == int(workers))
        store.promote("flights", good)
        wait_until(lambda: json.loads(server.get("/model")[1])["not_reloaded"] is None)
        store.sign("flights", unsigned, keys.Signer(key).sign)
        store.promote("flights", unsigned)
        wait_until(lambda: live_version(server) == unsigned)


def test_the_process_for_large_bodies_verifies_by_itself(
    store: ModelStore, key: Path, tmp_path: Path
) -> None:
    path = store.artifact("flights").path
    with serving(*options(store, "--verify-key", f"{key}.pub"), cwd=tmp_path) as server:
        seal_again(path)
        status, problem = server.post("/predict", MANY)
        assert status == 503
        assert f"{SIGNATURE}: does not sign manifest.json" in problem["detail"]
        assert server.post("/predict", FLIGHT)[0] == 200
        assert not (path / "unpickled").exists()


#: What a process runs as it starts: from then on, nothing in it can read a pickle from a file.
#: (`pickle.loads` reads what the service sends to its own process for large bodies.)
TRAP = """
import pickle
def load(*_, **__):
    raise SystemError("a pickle was read")
pickle.load = pickle._load = pickle._Unpickler.load = load
pickle.Unpickler = pickle._Unpickler
"""


@pytest.fixture
def no_unpickling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap/sitecustomize.py").write_text(TRAP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "trap"))


@pytest.mark.usefixtures("no_unpickling")
def test_a_service_of_a_compiled_model_never_unpickles(store: ModelStore, tmp_path: Path) -> None:
    first, second = store.versions("flights")
    more = ("--reload-every", "0.1", "--no-pickle")
    with serving(*options(store, *more), cwd=tmp_path) as server:
        for version in (first, second):
            store.promote("flights", version)
            wait_until(lambda version=version: live_version(server) == version)  # type: ignore[misc]
            assert server.post("/predict", FLIGHT)[0] == 200
            assert server.post("/predict", MANY)[0] == 200


@pytest.mark.usefixtures("no_unpickling")
def test_the_trap_catches_what_unpickles(uncompiled: Artifact) -> None:
    root = str(uncompiled.path.parent.parent)
    load = f"from trivet.api import load; load('flights', models_dir={root!r})"
    ended = subprocess.run(
        [sys.executable, "-c", load], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "SystemError: a pickle was read" in ended.stderr
