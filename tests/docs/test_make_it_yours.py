"""What docs/make-it-yours.md says of deleting and of names. Delete this file along with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, copy_checkout
from tests.docs.deletable import PAGE, deletable
from trivet.cli.commands import main

ROWS = deletable()
#: The quick tests that look at the tree as a whole, and where they are.
OF_THE_TREE = (
    "links or tree_is or setting_of or every_protocol or reference_is or same_in_all or is_there "
    "or imports_go"
)
OWNERS = (
    *("tests/docs/test_readme.py", "tests/docs/test_make_it_yours.py", "tests/test_dockerfiles.py"),
    *("tests/online/test_protocols.py", "tests/test_floors.py"),
)
#: What is run where all rows were deleted at once: every leg, and all that reads the tree.
PROOFS = (
    *("tests/test_floors.py", "tests/test_same_answers.py", "tests/test_dockerfiles.py"),
    *("tests/cli", "tests/docs", "tests/batch/test_run.py", "tests/online/test_routes.py"),
    "tests/online/test_protocols.py",
)
#: Slow ones, too, but not the tests of this file that make copies.
CHOSEN = ("-m", "not docker and not browser and not cluster", "-k", "not deleted_and")


def without(names: list[str], folder: Path) -> Path:
    """A copy of the project from which files and folders were deleted."""
    copy_checkout(folder)
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def run(folder: Path, *command: str | Path) -> None:
    """Run a command on the code of the copy; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    environment["PYTHONPATH"] = str(folder / "src")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def test_what_goes_with_a_row_is_there() -> None:
    """Or was deleted with another row."""
    assert len(ROWS) > 10
    deleted = [name for names in ROWS.values() if not (ROOT / names[0]).exists() for name in names]
    for names in ROWS.values():
        for name in names:
            assert (ROOT / name).exists() or name in deleted, name


@pytest.mark.slow
@pytest.mark.parametrize("what", ROWS)
def test_a_row_is_deleted_and_nothing_else_has_to_change(what: str, tmp_path: Path) -> None:
    folder = without(ROWS[what], tmp_path / "copy")
    run(folder, "make", "help")
    others = {name for names in ROWS.values() for name in names if "test_" in name}
    left = [name for name in others if (folder / name).exists()]  # imported, none of them is run
    quick = f"{OF_THE_TREE} or routes_are" if ROWS[what][0].startswith("src/") else OF_THE_TREE
    run(folder, sys.executable, "-m", "pytest", "-q", *left, *OWNERS, "-k", quick)


@pytest.mark.slow
def test_all_rows_are_deleted_and_what_is_left_is_whole(tmp_path: Path) -> None:
    folder = without([name for names in ROWS.values() for name in names], tmp_path / "copy")
    run(folder, "make", "-o", ".venv/.installed", "lint")
    run(folder, sys.executable, "-m", "pytest", "-q", "-x", *CHOSEN, *PROOFS)


def names_of_legs() -> list[list[str]]:
    """The rows of the page's table of legs."""
    table = PAGE.read_text().split("| leg | command |")[1].split("\n\n")[0]
    return [re.findall(r"(?<=\| )`?([^|`]+)`?(?= \|)", row) for row in table.splitlines()[2:]]


def test_a_command_is_a_verb_and_all_else_of_a_leg_has_its_noun() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    sections = (ROOT / "trivet.toml").read_text()
    legs = names_of_legs()
    assert [leg[0] for leg in legs] == ["train", "batch", "online"]
    for leg, command, in_docker, section, folder, dockerfile, image, service in legs:
        verb = command.removeprefix("trivet ")
        assert verb in main.commands
        assert in_docker == f"make docker-{verb}"
        assert f"\n{verb}: setup" in makefile
        assert f"\ndocker-{verb}: ##" in makefile
        assert section == f"[{verb}]"
        assert section in sections
        assert (folder, dockerfile) == (f"src/trivet/{leg}", f"Dockerfile.{leg}")
        assert (ROOT / folder).is_dir()
        assert (ROOT / dockerfile).is_file()
        assert (image, service) == (f"trivet-{leg}", leg)
        assert re.search(rf"^  {service}:\n(?:    .+\n)*?    image: .*{image}:", compose, re.M)
