"""What becomes of the service when things go wrong, seen from outside.

    make bench-faults
    .venv/bin/python bench/faults.py --full
    .venv/bin/python bench/faults.py --only killed --only promotions

Each trial of `fault_trials.py` starts `trivet serve` with the flights model, brings trouble to it,
and asks it on the side: every answer is compared with what the model's own `Predictor` says, and
every request without an answer counts as lost. What is lost or wrong and should not be is printed,
and makes the exit status 1. The report is bench/results/faults.md; with --only it is printed alone.
Needs Linux and root, which mounts the small disks that are filled.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import time

import click
from contestants import ROOT
from fault_requests import MODEL, Flights
from fault_service import FOLDER, MODELS, TRIVET
from fault_trials import TRIALS, Found, Trial
from processes import FailedError

from trivet.model.store import ModelStore

RESULTS = ROOT / "bench/results/faults.md"
NAMES = [trial.__name__ for trial in TRIALS]


def two_versions() -> ModelStore:
    """A store of the published model and one with another seed."""
    published, store = ModelStore(ROOT / "models"), ModelStore(MODELS)
    current = published.in_use(MODEL)
    if not (MODELS / MODEL / current).exists():
        shutil.rmtree(MODELS, ignore_errors=True)
        shutil.copytree(published.root / MODEL / current, MODELS / MODEL / current)
        store.promote(MODEL, current)
        more = ("--models-dir", MODELS, "--seed", "1", "--no-promote")
        subprocess.run([TRIVET, "train", *more], cwd=ROOT, capture_output=True, check=True)
    return store


def tried(trial: Trial, flights: Flights, full: bool) -> Found:
    try:
        return trial(flights, full)
    except (FailedError, OSError) as error:
        return Found("", "", faults=[str(error)])


def row(trial: Trial, found: Found) -> str:
    lost = f"**{'; '.join(found.faults)}**" if found.faults else str(found.lost)
    return f"| {trial.__doc__} | {found.often} | {lost} | {found.figures} |"


def render(results: dict[Trial, Found], full: bool, seconds: float) -> str:
    """The report in Markdown."""
    lines = [
        "# Faults",
        "",
        f"Made by `make bench-faults{' FULL=--full' if full else ''}` on "
        f"{time.strftime('%Y-%m-%d')} in {seconds / 60:.0f} minutes: {os.cpu_count()} processors, "
        f"Python {platform.python_version()}. Four callers ask beside each trouble, one record at "
        "a time; each answer is compared with that of the model's own `Predictor`. Lost are "
        "requests that a worker held when it was killed: at most one for each caller.",
        "",
        "| trial | how often | lost or wrong | figures |",
        "|---|---|---:|---|",
        *(row(trial, found) for trial, found in results.items()),
    ]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--full", is_flag=True, help="500,000 requests, and more of all else: 12 minutes.")
@click.option("--only", multiple=True, type=click.Choice(NAMES))
def main(full: bool, only: tuple[str, ...]) -> None:
    """Try what the service does when things go wrong."""
    if os.geteuid():
        raise SystemExit("needs root, to mount small disks")
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    flights, begun = Flights(two_versions()), time.monotonic()
    results: dict[Trial, Found] = {}
    for trial in TRIALS:
        if not only or trial.__name__ in only:
            results[trial] = tried(trial, flights, full)
            print(row(trial, results[trial]), flush=True)
    report = render(results, full, time.monotonic() - begun)
    if not only:
        RESULTS.write_text(report)
    sys.exit(any(found.faults for found in results.values()))


if __name__ == "__main__":
    main()
