"""A copy of the project under another name. Delete this file along with tools/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import copy_checkout

OLD, NEW, LONGEST = "trivet", "quokka", "abcdefghijklmnopqrst"
COMMIT = ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "copied")
#: What is run in a renamed copy: one proof of each leg, and of all that goes by the name.
PROOFS = (
    *("tests/test_floors.py", "tests/test_main.py", "tests/test_dockerfiles.py"),
    *("tests/test_errors.py", "tests/test_same_answers.py", "tests/cli", "tests/docs"),
    *("tests/train/test_run.py", "tests/train/test_version.py", "tests/batch/test_run.py"),
    *("tests/model/test_artifact.py", "tests/online/test_routes.py", "tests/online/test_keys.py"),
    "tests/online/protocols",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed copy that no test changes."""
    return committed(copy_checkout(tmp_path_factory.mktemp("kept")))


def committed(folder: Path) -> Path:
    for command in (("init", "--quiet"), ("add", "."), COMMIT):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def rename(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/rename.py", name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def changes(folder: Path) -> str:
    command = ["git", "status", "--porcelain"]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


LETTERS, TAKEN, USED = "lower-case letters", "Python or an installed package", "the code uses"


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        *((LETTERS, name) for name in ("", "my_model", "my-model", "Model", "3d", "x", "a" * 21)),
        *((TAKEN, name) for name in ("nonlocal", "turtle", "markupsafe")),
        *((USED, name) for name in (OLD, "batch", "json", "deploy", "header", "tmpfs")),
    ],
)
def test_a_name_that_would_not_do_is_refused(reason: str, name: str, kept: Path) -> None:
    done = rename(kept, name)
    assert done.returncode == 1
    assert done.stderr.startswith(f"NAME={name}: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert changes(kept) == ""


def test_changes_that_are_not_committed_are_not_mixed_with_a_renaming(tmp_path: Path) -> None:
    folder = committed(copy_checkout(tmp_path))
    (folder / "notes.txt").write_text("mine")
    done = rename(folder, NEW)
    assert done.returncode == 1
    assert "commit or stash them" in done.stderr
    assert changes(folder) == "?? notes.txt\n"


def test_a_copy_can_be_renamed_again(tmp_path: Path) -> None:
    folder = committed(copy_checkout(tmp_path))
    for name in ("ab", NEW):  # the first is in "table", "about", "disable"
        assert rename(folder, name).returncode == 0
        subprocess.run(["git", "add", "."], cwd=folder, check=True)
        subprocess.run(["git", *COMMIT], cwd=folder, check=True)
    assert "--disable-pip-version-check" in (folder / "Makefile").read_text()
    assert f"from {NEW}." in (folder / "tests/conftest.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("in_git", [True, False])
def test_the_longest_name_leaves_no_old_one_and_nothing_to_lint(
    in_git: bool, tmp_path: Path
) -> None:
    folder = copy_checkout(tmp_path / OLD)
    (folder / ".env").write_text("TRIVET_UID=4321\n")
    (folder / "models").mkdir()
    (folder / "models/of_the_old_name").write_text(OLD)
    if in_git:
        committed(folder)
    done = rename(folder, LONGEST)
    assert done.returncode == 0, done.stderr
    assert "run `make train`" in done.stdout
    assert (folder / ".env").read_text() == f"{LONGEST.upper()}_UID=4321\n"
    assert (folder / "models/of_the_old_name").read_text() == OLD
    assert left_in(folder) == []
    ruff = Path(sys.executable).with_name("ruff")
    for linter in (("check", "."), ("format", "--check", ".")):
        subprocess.run([ruff, *linter], cwd=folder, check=True)


def left_in(folder: Path) -> list[str]:
    """Where the old name still is, against the rule."""
    found = []
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name.startswith((".git/", ".venv/", ".ruff_cache/", "models/")):
            continue
        if OLD in name:
            found.append(name)
        if path.is_file() and name not in ("LICENSE", "CHANGELOG.md"):
            lines = path.read_text(errors="ignore").splitlines()
            found += [
                f"{name}: {line}"
                for line in lines
                if OLD in line.lower() and "kept by rename" not in line
            ]
    return found


@pytest.fixture
def renamed(tmp_path: Path) -> Path:
    """A copy that `make rename` has renamed, with an environment of its own."""
    folder = committed(copy_checkout(tmp_path / "copy"))
    borrow_environment(folder / ".venv")
    make(folder, "rename", f"NAME={NEW}", f"PYTHON={sys.executable}")
    return folder


def borrow_environment(venv: Path) -> None:
    """An environment with the packages and commands of this one, so that none is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    [own] = venv.glob("lib/python*/site-packages")
    theirs = [path for path in sys.path if path.endswith("site-packages")]
    (own / "borrowed.pth").write_text("\n".join(theirs))
    for command in Path(sys.executable).parent.iterdir():
        place = venv / "bin" / command.name
        if command.is_file() and not place.exists() and command.name != OLD:
            content, here = command.read_bytes(), bytes(command.parent)
            place.write_bytes(content.replace(here, bytes(place.parent), 1))  # its first line
            place.chmod(0o755)


def make(folder: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    command = ["make", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.mark.slow
def test_a_renamed_copy_passes_its_own_lint_and_tests(renamed: Path) -> None:
    assert left_in(renamed) == []
    assert not (renamed / ".venv/bin" / OLD).exists()
    make(renamed, "lint")
    command: list[str | Path] = [renamed / ".venv/bin/python", "-m", "pytest", "-q", "-x", *PROOFS]
    chosen = ["-m", "not docker and not browser and not cluster", "-k", "not deleted_and"]
    tested = subprocess.run(
        [*command, *chosen], cwd=renamed, stdout=subprocess.PIPE, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout
