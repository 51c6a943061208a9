"""What docs/python.md shows is run, and its output is compared."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TRIVET, copy_checkout, free_port, wait_until
from tests.docs.test_readme import VERSION, without_varying
from tests.test_api import is_ready

GUIDE = (ROOT / "docs/python.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


class Output(doctest.OutputChecker):
    """Compares output, but for versions and for the last digits of numbers."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        shown, printed = (VERSION.sub("VERSION", without_varying(text)) for text in (want, got))
        return super().check_output(shown + "\n", printed + "\n", optionflags)


@pytest.mark.slow
def test_the_guide_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_checkout(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    files = [block for block in blocks("python") if block.startswith("# ")]
    for block in files:
        Path(block.split()[1]).write_text(block)
    session = "\n".join(blocks("pycon"))
    test = doctest.DocTestParser().get_doctest(session, {}, "python.md", "docs/python.md", 0)
    assert len(test.examples) > 20
    said: list[str] = []
    runner = doctest.DocTestRunner(Output(), optionflags=doctest.ELLIPSIS)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)

    [command] = blocks("sh")
    port = free_port()
    path = f"{TRIVET.parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "-c", f"export TMPDIR=$PWD; exec env {command.strip()} --port {port}"],
        env={**os.environ, "PATH": path},
    )
    try:
        wait_until(lambda: process.poll() is not None or is_ready(port))
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


def test_the_imports_are_those_of_the_api() -> None:
    code = blocks("python")[0] + "help(train)"
    helped = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "time_column" in helped.stdout
