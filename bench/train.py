"""What training costs: millions of flights, learnt by Trivet and by a plain pandas script.

    make bench-train
    .venv/bin/python bench/train.py --rows 1000000 --rounds 1

Both read the same CSV, hold out the last fifth in time, fit the same pipeline and measure it, each
in a process of its own; Trivet also compiles the model, proves it and publishes it. Rounds go
through both in turn; medians are reported, in bench/results/train.md. With other --rows they are
printed alone. Needs Linux, and 4 GB of memory for what the script holds of 5 million flights.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click
from batch_data import make_table
from contestants import CACHE, OWN, ROOT
from figures import GOALS, Goal, medians
from processes import FailedError
from processes import run as run_process

ROWS = (1_000_000, 5_000_000)
RESULTS, FOLDER = ROOT / "bench/results/train.md", CACHE / "train"
TRIVET, PANDAS = "`trivet train`", "plain pandas script"
LIMIT, MOST_MEMORY = 1_800, 2_500


@dataclass(frozen=True)
class Figures:
    """One run: seconds, the peak of its resident memory in MB, and the model's ROC AUC."""

    seconds: float
    resident: float
    roc_auc: float


def measure(name: str, rows: int) -> Figures:
    """Train once, from the table to a model on disk."""
    table, log = make_table(rows, "csv"), FOLDER / "log"
    commands = {
        TRIVET: [
            *(
                OWN / "bin/trivet",
                "train",
                "--data",
                table,
                "--target",
                "late",
                "--id",
                "flight_id",
            ),
            *("--time-column", "time_hour", "--models-dir", FOLDER / "models"),
        ],
        PANDAS: [OWN / "bin/python", ROOT / "bench/peers/train_pandas.py", table, FOLDER / "model"],
    }
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    ended = run_process(list(map(str, commands[name])), {}, FOLDER, log, LIMIT)
    found = re.search(r"roc_auc\W+(\d\.\d+)", log.read_text())
    if not ended.in_time or not found:
        raise FailedError(f"{name}, {rows:,} rows: no score within {LIMIT} s")
    return Figures(ended.seconds, ended.rss, float(found[1]))


def render(runs: dict[tuple[str, int], Figures], rounds: int) -> str:
    """The report in Markdown."""
    lines = [
        "# Training",
        "",
        f"Made by `make bench-train` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} processors, "
        f"Python {platform.python_version()}; medians of {rounds} round(s). From a CSV of flights "
        "to a model on disk, with Trivet's proof of its compiled form. Memory is the peak.",
        "",
        "| trained by | rows | seconds | MB resident | roc_auc |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {rows:,} | {run.seconds:.1f} | {run.resident:,.0f} | {run.roc_auc:.4f} |"
            for (name, rows), run in runs.items()
        ),
        "",
        *GOALS,
        *(goal.row for goal in goals(runs)),
    ]
    return "\n".join(lines) + "\n"


def goals(runs: dict[tuple[str, int], Figures]) -> Iterator[Goal]:
    for rows in sorted({rows for _, rows in runs}):
        own, peer = runs[TRIVET, rows], runs[PANDAS, rows]
        yield Goal(f"MB / the script's, {rows:,} rows", 1, False, own.resident / peer.resident)
        if rows == max(ROWS):
            yield Goal(f"MB, {rows:,} rows", MOST_MEMORY, False, own.resident)


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rows", multiple=True, default=ROWS, show_default=True, type=click.IntRange(1))
def main(rounds: int, rows: tuple[int, ...]) -> None:
    """Measure training."""
    rounds_of: dict[tuple[str, int], list[Figures]] = {}
    for _ in range(rounds):
        for count in rows:
            for name in (TRIVET, PANDAS):
                rounds_of.setdefault((name, count), []).append(measure(name, count))
                print(name, f"{count:,}", rounds_of[name, count][-1], flush=True)
    report = render({case: medians(each) for case, each in rounds_of.items()}, rounds)
    print(report)
    if rows == ROWS:
        RESULTS.write_text(report)


if __name__ == "__main__":
    main()
