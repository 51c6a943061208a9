"""What the README says is run, and what it shows is compared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ROOT, TRIVET, copy_checkout, free_port, serving
from tests.docs.deletable import deletable, was_deleted

README = (ROOT / "README.md").read_text()
ONLINE = (ROOT / "docs/online.md").read_text()
URL = "http://127.0.0.1:8000"
VERSION = re.compile(r"\b[0-9a-f]{12}\b")
VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\dZ"), "TIME"),
    # Libraries may differ in the last digits.
    (re.compile(r"(\b\d\.\d{6})\d+"), r"\1"),
]


def commands_of(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands in a document, with the lines that each is said to print."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = shown.splitlines()
            yield command, lines


COMMANDS = list(commands_of(README))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own files in a new folder, beside the environment that runs this test."""
    folder = copy_checkout(tmp_path_factory.mktemp("readme") / "trivet")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.mark.slow
def test_the_readme_does_what_it_shows(checkout: Path) -> None:
    assert len(COMMANDS) == 5
    names: dict[str, str] = {}  # the versions that were printed, by those that the README shows
    for command, shown in COMMANDS:
        if command.startswith("curl"):
            with serving(cwd=checkout) as server:
                printed = output_of(command.replace(URL, server.url), checkout)
        elif command == "make demo":
            port = free_port()
            demo = f"make -o .venv/.installed demo PORT={port}"
            printed = output_of(demo, checkout).replace(f"127.0.0.1:{port}", "127.0.0.1:8000")
        else:
            printed = output_of(command, checkout)
        assert_shown(shown, printed.splitlines(), command, names)


def output_of(command: str, cwd: Path) -> str:
    path = f"{TRIVET.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    environment.pop("MAKEFLAGS", None)
    done = subprocess.run(
        shlex.split(command),
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def assert_shown(shown: list[str], printed: list[str], command: str, names: dict[str, str]) -> None:
    """The shown lines are the printed ones, in order; a line ``...`` stands for any number.

    A version may differ from the one shown, but then in all places alike.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else f"{re.escape(without_varying(line))}\\n"
        for line in shown
    )
    versions = VERSION.findall("\n".join(shown))
    pattern = VERSION.sub("([0-9a-f]{12})", pattern)
    text = "".join(without_varying(line) + "\n" for line in printed)
    match = re.fullmatch(pattern, text)
    assert match, f"{command} printed:\n{text}\nnot:\n{pattern}"
    for version, found in zip(versions, match.groups(), strict=True):
        assert names.setdefault(version, found) == found
    assert len(set(names.values())) == len(names)


def without_varying(line: str) -> str:
    for pattern, word in VARYING:
        line = pattern.sub(word, line)
    return line.rstrip()


def test_the_routes_are_those_of_the_service(client: TestClient) -> None:
    served = set(client.get("/openapi.json").json()["paths"]) | {"/docs"}
    routes = re.compile(r"^\| `(?:GET|POST) (/\S*)`", re.MULTILINE)
    documented = set(routes.findall(ONLINE))
    assert documented >= served
    protocols = [name for names in deletable().values() for name in names if "protocols" in name]
    if not any(was_deleted(ROOT / name) for name in protocols):
        assert documented == served


def test_the_tree_is_the_one_that_is_there() -> None:
    tree = README.split("## Make it yours")[1].split("```")[1]
    for name in re.findall(r"^  (\S+)", tree, re.MULTILINE):
        assert (ROOT / "src/trivet" / name).exists(), name
    for line in re.findall(r"^(\S.*?)  +(?=\w)", tree, re.MULTILINE):
        for name in line.split():
            assert name == "models/" or list(ROOT.glob(name)) or was_deleted(ROOT / name), name
    shown = set(re.findall(r"(\w+)\.py", tree))
    modules = {path.stem for path in (ROOT / "src/trivet").glob("*.py")}
    assert modules - shown == {"__init__", "__main__"}


def test_the_reference_is_the_one_that_the_commands_give() -> None:
    command = [sys.executable, str(ROOT / "docs/reference.py")]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs/reference.md").read_text() == made, "stale: run make docs"


def test_links_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "data/README.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            path = Path(os.path.normpath(document.parent / target))
            assert path.exists() or was_deleted(path), f"{document.name}: {target}"
