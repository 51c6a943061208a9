"""How far a run is: a bar on a terminal, lines in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import NOVEMBER, TRIVET
from trivet.cli import progress
from trivet.cli.progress import Progress


def test_a_log_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    with Progress() as watch:
        for second in range(25):
            now = 100.0 + second
            watch(second * 1000, second * 10, 400)
    assert capsys.readouterr().err.splitlines() == [
        "10,000 rows, 1,000 rows/s, 25% done, 30 s left",
        "20,000 rows, 1,000 rows/s, 50% done, 20 s left",
    ]


@pytest.mark.parametrize(("rows", "named"), [(99_999, ""), (100_000, "fitting\nproving\n")])
def test_the_steps_of_a_large_table_are_named(
    capsys: pytest.CaptureFixture[str], rows: int, named: str
) -> None:
    with Progress() as watch:
        watch(rows, 1, 1)
        watch.step("fitting")
        watch.step("proving")
    assert capsys.readouterr().err == named


def test_a_terminal_shows_a_bar_that_ends_before_the_summary(
    flights_store: Path, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    command: list[str | Path] = [
        *(TRIVET, "batch-predict", "--input", NOVEMBER, "--output", tmp_path / "out.csv"),
        *("--model", "flights", "--models-dir", flights_store),
    ]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while block := read(ours):
            shown += block
    os.close(ours)
    assert process.returncode == 0
    assert re.search(rb"\[#+\] .*100%.*5,000 rows, [0-9,]+ rows/s.*\n5,000 rows pred", shown, re.S)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 2**16)
    except OSError:  # the other end is closed
        return b""
