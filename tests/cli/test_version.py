"""The digest that `trivet --version` prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import trivet
from tests.conftest import run_trivet
from trivet.cli.version import DIGITS, package_digest

PACKAGE = Path(trivet.__file__).parent


def test_a_copy_with_bytecode_and_other_files_has_the_same_digest(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "copy"))
    (copy / "notes.txt").write_text("not code")
    (copy / "errors.cpython-313.pyc").write_bytes(b"bytecode")
    assert package_digest(copy) == package_digest(PACKAGE)
    printed = run_trivet("--version", cwd=tmp_path).stdout
    assert printed.endswith(f"code {package_digest(copy)[:DIGITS]}\n")


def test_every_edit_changes_it(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "copy"))
    seen = {package_digest(copy)}
    for module in ("pipeline.py", "online/app.py", "batch/__init__.py"):
        with (copy / module).open("a") as file:
            file.write("# a comment\n")
        seen.add(package_digest(copy))
    (copy / "errors.py").rename(copy / "troubles.py")
    seen.add(package_digest(copy))
    assert len(seen) == 5
