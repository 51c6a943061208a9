"""Memory of a batch run: that of its processes together, whatever the size of the table."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import NOVEMBER, TRIVET

pytestmark = pytest.mark.slow


def times(count: int, folder: Path) -> Path:
    """The November flights so many times, 5,000 rows each."""
    header, rows = NOVEMBER.read_bytes().split(b"\n", 1)
    table = folder / f"{count}.csv"
    with table.open("wb") as file:
        file.write(header + b"\n")
        for _ in range(count):
            file.write(rows)
    return table


def peak(command: list[str | Path], folder: Path) -> float:
    """The most memory that a command and its descendants held, in MB, shared pages once (PSS)."""
    most = 0
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most = max(most, sum(map(proportional, descendants(process.pid))))
            time.sleep(0.05)
        assert process.returncode == 0
    return most / 1000


def descendants(pid: int) -> Iterator[int]:
    """A process, and all below it."""
    yield pid
    with suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def proportional(pid: int) -> int:
    """Memory of a process in kB, of shared pages its part."""
    with suppress(OSError, IndexError):  # it has ended
        return int(Path(f"/proc/{pid}/smaps_rollup").read_text().partition("\nPss:")[2].split()[0])
    return 0


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_memory_is_bounded_whatever_the_size(
    flights_store: Path, tmp_path: Path, ending: str
) -> None:
    def megabytes(count: int) -> float:
        table = times(count, tmp_path)
        command = (TRIVET, "batch-predict", "--input", table, "--output", f"out.{ending}")
        options = ("--model", "flights", "--models-dir", flights_store, "--workers", "2")
        return peak([*command, *options], tmp_path)

    small, large = megabytes(200), megabytes(600)
    assert large < 600
    assert large - small < 50
