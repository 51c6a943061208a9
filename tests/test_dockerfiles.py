"""What can be seen of the Dockerfiles without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_trivet, serving

LEGS = ("train", "batch", "online")
HADOLINT = Path(sys.executable).with_name("hadolint")


def dockerfile(leg: str) -> str:
    return (ROOT / f"Dockerfile.{leg}").read_text()


def test_the_base_is_the_same_in_all() -> None:
    bases = {re.search(r"# >>> base.*# <<< base\n", dockerfile(leg), re.DOTALL) for leg in LEGS}
    texts = {base and base.group() for base in bases}
    assert None not in texts
    assert len(texts) == 1


def test_each_lets_in_only_what_it_copies() -> None:
    for leg in LEGS:
        let_in = set(
            re.findall(r"^!(\S+)", (ROOT / f"Dockerfile.{leg}.dockerignore").read_text(), re.M)
        )
        copies = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile(leg), re.M)
        assert let_in == {name for copy in copies for name in copy.split()}


@pytest.mark.parametrize("leg", LEGS)
def test_hadolint_has_nothing_to_say(leg: str) -> None:
    linted = subprocess.run(
        [HADOLINT, f"Dockerfile.{leg}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, "")


def test_the_health_check_is_a_command(flights_store: Path, tmp_path: Path) -> None:
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", dockerfile("online"), re.M)
    name, *arguments = json.loads(command)
    assert name == "trivet"
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path) as server:
        port = server.url.rpartition(":")[2]
        checked = run_trivet(*arguments, cwd=tmp_path, TRIVET_SERVE_PORT=port)
    assert checked.returncode == 0


@pytest.mark.parametrize(
    ("lock", "not_in_it"), [("requirements.txt", {"dev"}), ("requirements-dev.txt", set())]
)
def test_every_dependency_is_locked(lock: str, not_in_it: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = {"": project["dependencies"], **project["optional-dependencies"]}
    named = [name for part in parts.keys() - not_in_it for name in parts[part]]
    wanted = {re.split(r"[^\w-]", name)[0] for name in named} - {"trivet"}
    assert wanted <= set(re.findall(r"^([\w-]+)==", (ROOT / lock).read_text(), re.M))


def test_every_setting_of_compose_is_in_the_example() -> None:
    compose = "".join(
        path.read_text() for path in (ROOT / "docker-compose.yml", *ROOT.glob("deploy/*.yml"))
    )
    example = (ROOT / ".env.example").read_text()
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", compose):
        if name != "REGISTRY":
            assert f"#{name}={default}\n" in example
