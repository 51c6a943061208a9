"""What the images are made of, and what a change rebuilds."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, run_trivet, wait_until
from tests.docker.conftest import (
    FLIGHT,
    LEGS,
    MARK,
    Project,
    docker,
    edit,
    inspect,
    layers,
    remove_images,
)

BASE = "python:3.13-slim"
# The layers above the base image: /app, workdir, core, sign, pipeline, tables (not online),
# leg (not train), package, import test.
CORE, PIPELINE, TABLES, PACKAGE = 2, 4, 5, -2
CODE = 2  # an edit of the code rebuilds this many layers
DISTRIBUTIONS = """
import json
from importlib.metadata import distributions
print(json.dumps({d.name.lower().replace("_", "-"): d.version for d in distributions()}))
"""


def own_layers(image: str) -> list[str]:
    return layers(image)[len(layers(BASE)) :]


@pytest.fixture
def edited(new_project: Callable[..., Project]) -> Iterator[Project]:
    """A checkout that a test edits; its images have a tag of their own."""
    project = new_project(tag=f"{MARK}-edited")
    yield project
    remove_images(*(project.image(leg) for leg in LEGS))


def layers_rebuilt(project: Project, tag: str, leg: str) -> int:
    """How many layers of an image a build changed: the first that differs and all above it."""
    project.compose("build", "--quiet")
    old, new = own_layers(f"trivet-{leg}:{tag}"), own_layers(project.image(leg))
    differ = [before != after for before, after in zip(old, new, strict=True)]
    return len(new) - differ.index(True) if any(differ) else 0


def test_the_legs_share_the_core_and_the_package(tag: str) -> None:
    train, batch, online = (own_layers(f"trivet-{leg}:{tag}") for leg in LEGS)
    assert train[: PIPELINE + 1] == batch[: PIPELINE + 1] == online[: PIPELINE + 1]
    assert train[PACKAGE] == batch[PACKAGE] == online[PACKAGE]
    assert train[TABLES] == batch[TABLES] != online[TABLES]


@pytest.mark.parametrize("leg", LEGS)
def test_equal_inputs_give_equal_layers(
    leg: str, rounds: list[dict[str, list[str]]], tag: str
) -> None:
    first, second = rounds
    assert first[leg] == second[leg] == layers(f"trivet-{leg}:{tag}")


@pytest.mark.parametrize("leg", LEGS)
def test_an_edit_of_code_rebuilds_the_last_layers(leg: str, edited: Project, tag: str) -> None:
    edit(edited.folder / "src/trivet/errors.py", '"""Every', '"""Edited. Every')
    assert layers_rebuilt(edited, tag, leg) == CODE


def test_an_edit_of_the_project_file_that_changes_no_dependency_is_like_one_of_code(
    edited: Project, tag: str
) -> None:
    edit(edited.folder / "pyproject.toml", "line-length = 100", "line-length = 99")
    assert layers_rebuilt(edited, tag, "train") <= CODE


def test_a_change_of_one_legs_dependencies_leaves_the_core_and_the_other_legs(
    edited: Project, tag: str
) -> None:
    edit(edited.folder / "pyproject.toml", '    "fastapi-swagger>=0.4.40",\n', "")
    lock = edited.folder / "requirements.txt"
    lock.write_text(re.sub(r"fastapi-swagger==(.*\\\n)+.*\n", "", lock.read_text()))
    assert layers_rebuilt(edited, tag, "online") == CODE + 1
    assert layers_rebuilt(edited, tag, "batch") <= CODE


def test_a_package_whose_hash_is_not_in_the_lock_is_refused(edited: Project) -> None:
    lock = edited.folder / "requirements.txt"
    pin = re.search(r"click==(.*\\\n)+.*\n", lock.read_text())
    assert pin
    edit(lock, pin.group(), re.sub(r"sha256:\w+", "sha256:" + "0" * 64, pin.group()))
    build = edited.run("docker", "compose", "build", "online")
    assert build.returncode != 0
    assert "DO NOT MATCH THE HASHES" in build.stdout


@pytest.mark.parametrize("leg", LEGS)
def test_an_image_holds_its_own_packages_as_locked(leg: str, tag: str) -> None:
    python = ("run", "--rm", "--entrypoint", "python", f"trivet-{leg}:{tag}", "-c")
    found = json.loads(docker(*python, DISTRIBUTIONS))
    del found["trivet"]
    own = {"train": {"pyarrow"}, "batch": {"pyarrow"}, "online": {"fastapi", "uvicorn"}}
    others = set().union(*own.values()) - own[leg]
    assert own[leg] | {"cryptography"} <= set(found)
    assert not set(found) & {*others, "flit-core", "pytest", "mypy", "ruff", "uv"}
    pins = re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.M)
    from_venv = {name: version for name, version in found.items() if name not in ("pip", "wheel")}
    assert from_venv.items() <= dict(pins).items()


@pytest.mark.parametrize("leg", LEGS)
def test_an_image_holds_no_tools_no_sources_and_no_data(leg: str, tag: str) -> None:
    look = "ls -A / /app /opt /venv/bin /usr/bin /usr/local/bin | grep -v :"
    shell = ("run", "--rm", "--entrypoint", "sh", f"trivet-{leg}:{tag}", "-c", look)
    seen = set(docker(*shell).split())
    assert {"venv", "python", "trivet"} <= seen
    leftovers = {"package", "leg", "source", "src", "tests", "data", "models", "wheel"}
    assert not seen & {"gcc", "cc", "uv", "install-into", *leftovers}


@pytest.mark.parametrize("leg", LEGS)
def test_bytecode_is_compiled(leg: str, tag: str) -> None:
    code = (
        "import pathlib, trivet; at = pathlib.Path(trivet.__file__).parent;"
        "print(len([*at.rglob('*.py')]) - len([*at.rglob('*.pyc')]))"
    )
    image = f"trivet-{leg}:{tag}"
    assert docker("run", "--rm", "--entrypoint", "python", image, "-c", code) == "0"


@pytest.mark.parametrize(
    ("leg", "command"), [("train", "train"), ("batch", "batch-predict"), ("online", "serve")]
)
def test_an_image_says_what_it_is(leg: str, command: str, tag: str) -> None:
    config = inspect(f"trivet-{leg}:{tag}")["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert config["Entrypoint"] == ["trivet", command]
    assert config["User"] == "1000:1000"
    assert config["StopSignal"] == "SIGTERM"
    assert ("Healthcheck" in config) == (leg == "online")
    assert (labels["title"], labels["version"], labels["revision"], labels["licenses"]) == (
        f"trivet-{leg}", "1.2.3", "abc1234", "MIT",
    )  # fmt: skip
    assert "source" in labels


@pytest.mark.parametrize("leg", LEGS)
def test_an_image_says_which_code_it_holds(leg: str, tag: str, tmp_path: Path) -> None:
    inside = docker("run", "--rm", "--entrypoint", "trivet", f"trivet-{leg}:{tag}", "--version")
    assert inside == run_trivet("--version", cwd=tmp_path).stdout.strip()


def test_an_image_takes_options(tag: str) -> None:
    assert "--input" in docker("run", "--rm", f"trivet-batch:{tag}", "--help")


@pytest.fixture(scope="module")
def compiled_image(new_project: Callable[..., Project]) -> Iterator[str]:
    """The online image without scikit-learn."""
    project = new_project(tag=f"{MARK}-compiled")
    project.compose("build", "--quiet", "online", RUNTIME="compiled")
    yield project.image("online")
    remove_images(project.image("online"))


def test_the_compiled_runtime_is_small_and_has_no_scikit_learn(
    compiled_image: str, tag: str
) -> None:
    size = {image: inspect(image)["Size"] for image in (BASE, compiled_image)}
    assert size[compiled_image] - size[BASE] < 100e6
    assert own_layers(compiled_image)[: CORE + 1] == own_layers(f"trivet-online:{tag}")[: CORE + 1]
    python = ("run", "--rm", "--entrypoint", "python", compiled_image, "-c")
    found = set(json.loads(docker(*python, DISTRIBUTIONS)))
    assert {"numpy", "fastapi"} <= found
    assert not found & {"scikit-learn", "pandas", "scipy", "joblib", "pyarrow", "cryptography"}


def test_the_compiled_runtime_can_check_signatures_if_asked_for(
    new_project: Callable[..., Project],
) -> None:
    project = new_project(tag=f"{MARK}-compiled-sign")
    project.compose("build", "--quiet", "online", RUNTIME="compiled-sign")
    python = ("run", "--rm", "--entrypoint", "python", project.image("online"), "-c")
    try:
        assert {"cryptography"} <= set(json.loads(docker(*python, DISTRIBUTIONS)))
        docker(*python, "import trivet.model.keys")
    finally:
        remove_images(project.image("online"))


def test_the_compiled_runtime_serves_the_flights(
    compiled_image: str, new_project: Callable[..., Project]
) -> None:
    project = new_project()
    project.compose("run", "--rm", "train")
    full, small = (
        answer_of(image, project.folder / "models")
        for image in (project.image("online"), compiled_image)
    )
    assert small["predictions"][0]["prediction"] is False
    assert small == full


def answer_of(image: str, models: Path) -> dict[str, Any]:
    """What a container of an image answers about one flight."""
    code = (
        "import urllib.request as r, sys;"
        "print(r.urlopen(r.Request('http://127.0.0.1:8000/predict', sys.stdin.buffer.read(),"
        " {'Content-Type': 'application/json'})).read().decode())"
    )
    name = docker(
        *("run", "--detach", "--rm", "--network", "none", "--volume", f"{models}:/app/models:ro"),
        *("--env", "TRIVET_SERVE_MODEL=flights", image),
    )
    try:
        wait_until(lambda: inspect(name)["State"]["Health"]["Status"] == "healthy")
        done = subprocess.run(
            ["docker", "exec", "-i", name, "python", "-c", code],
            input=FLIGHT,
            capture_output=True,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    finally:
        docker("rm", "--force", name, check=False)
