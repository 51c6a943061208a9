"""Memory of a batch run: that of its processes together, whatever the size of the table."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
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
def test_memory_is_bounded_whatever_the_width(
    flights_store: Path, tmp_path: Path, ending: str
) -> None:
    rows = pa.csv.read_csv(NOVEMBER).slice(0, 4000)
    notes = [f"{n:06}" * 4000 for n in range(4000)]  # 24 kB a row, 96 MB: alike within, so small
    table = rows.append_column("note", [notes])
    pa.parquet.write_table(pa.concat_tables([table] * 6), tmp_path / "in.parquet")
    command = (TRIVET, "batch-predict", "--input", "in.parquet", "--output", f"out.{ending}")
    options = ("--model", "flights", "--models-dir", flights_store, "--workers", "1")
    assert peak([*command, *options], tmp_path) < 600


def test_memory_is_bounded_however_many_rows_are_rejected(
    flights_store: Path, tmp_path: Path
) -> None:
    header, row, _ = NOVEMBER.read_bytes().split(b"\n", 2)
    (tmp_path / "in.csv").write_bytes(
        header + b"\n" + (row.replace(b",11,", b",x,") + b"\n") * 10**6
    )
    command = (TRIVET, "batch-predict", "--input", "in.csv", "--output", "out.csv")
    options = ("--model", "flights", "--models-dir", flights_store, "--max-rejected", "100%")
    assert peak([*command, *options], tmp_path) < 600
    with (tmp_path / "out.csv.rejected.csv").open() as file:
        assert sum(1 for _ in file) == 1 + 10**6


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
