"""What can be seen of the Dockerfiles without an engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

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
        copies = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(leg), re.M)
        assert let_in == {name for copy in copies for name in copy.split()}


@pytest.mark.parametrize("leg", LEGS)
def test_hadolint_has_nothing_to_say(leg: str) -> None:
    linted = subprocess.run(
        [HADOLINT, f"Dockerfile.{leg}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout) == (0, "")


def test_every_setting_of_compose_is_in_the_example() -> None:
    compose = "".join(path.read_text() for path in ROOT.glob("docker-compose*.yml"))
    example = (ROOT / ".env.example").read_text()
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", compose):
        if name != "REGISTRY":
            assert f"#{name}={default}\n" in example
