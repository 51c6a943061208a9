"""Measure online inference: Trivet and its peers serve the flights model, Trivet others as well.

    make bench-online
    .venv/bin/python bench/online.py --rounds 1 --seconds 2 --only trivet --only fastapi-empty

Each contestant runs in its own process on one core and answers wrk, which runs on another: one row
per request over 32 connections and over one, then 1,000 rows per request if it serves the flights
model. Its first answers are compared with the pipeline's. Each round runs every contestant once, so
a slow minute of the machine affects them all. The report with the medians goes to
bench/results/online.md, or with --only just to the terminal. Needs Linux, two cores and wrk. The
models and the peers' environments are kept in .bench.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import click
import numpy as np
from cases import Case, case_of
from contestants import (
    CACHE,
    CLIENT_CORE,
    CONTESTANTS,
    FLIGHTS,
    MLFLOW_MODEL,
    ROOT,
    SERVER_CORE,
    TRIVET,
    Contestant,
    Row,
    trivet,
)
from environments import PACKAGES, install, save_for_mlflow
from processes import FailedError
from report import Figures, render, table_row
from servers import serving

from trivet.model.artifact import library_versions

RESULTS = ROOT / "bench/results/online.md"
CONNECTIONS, WARM_UP, TOLERANCE = 32, 2, 1e-9


def measure(contestant: Contestant, case: Case, seconds: int) -> Figures:
    """Measure one contestant for one round; raises `FailedError`."""
    one, many = write_body(contestant, case.rows[:1]), write_body(contestant, case.rows)
    begun = time.perf_counter()
    with serving(contestant, case.model) as server:
        answer = server.first_answer(contestant.path, one)
        ready = time.perf_counter() - begun
        check(contestant, answer, case.expected[:1])
        server.load(contestant.path, one, CONNECTIONS, WARM_UP)
        crowd = server.load(contestant.path, one, CONNECTIONS, seconds)
        alone = server.load(contestant.path, one, 1, seconds)
        rows = math.nan
        if contestant.many:
            check(contestant, server.ask(contestant.many, many), case.expected)
        if contestant.many and contestant.model == FLIGHTS:
            rows = len(case.rows) * server.load(contestant.many, many, 1, seconds).rate
        return Figures(crowd.rate, crowd.p50, crowd.p99, alone.p50, rows, ready, *server.memory())


def write_body(contestant: Contestant, rows: list[Row]) -> Path:
    path = CACHE / "bodies" / f"{contestant.name}-{len(rows)}.json"
    path.write_text(json.dumps(contestant.body(rows)))
    return path


def check(contestant: Contestant, answer: bytes, expected: np.ndarray) -> None:
    if contestant.read is None:
        return
    got, wanted = np.ravel(contestant.read(json.loads(answer))), expected.ravel()
    if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE):
        raise FailedError(f"it answers {got[:3]}..., but the pipeline {wanted[:3]}...")


def further_worker(case: Case, seconds: int) -> float:
    """Megabytes (PSS) that each further worker of Trivet adds, measured after a load."""
    sizes = {}
    for workers in (1, 4):
        contestant = trivet(workers=workers)
        body = write_body(contestant, case.rows[:1])
        with serving(contestant, case.model) as server:
            server.first_answer(contestant.path, body)
            server.load(contestant.path, body, CONNECTIONS, WARM_UP + seconds)
            sizes[workers], _ = server.memory()
    return (sizes[4] - sizes[1]) / 3


def describe(rounds: int, seconds: int) -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in info if line.startswith("model name")), "")
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split()
    return (
        f"Made by `make bench-online` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} processors "
        f"({model or platform.machine()}), Python {platform.python_version()}, wrk {wrk[1]}. A "
        f"server runs on core {SERVER_CORE}, wrk on core {CLIENT_CORE}; `trivet-2-workers` runs on "
        f"both, and so takes part of wrk's. Figures are medians of {rounds} rounds, with {seconds} "
        f"s per load after {WARM_UP} s to warm up."
    )


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds", default=5, show_default=True, type=click.IntRange(1), help="Seconds per load."
)
@click.option("--only", multiple=True, type=click.Choice([each.name for each in CONTESTANTS]))
def main(rounds: int, seconds: int, only: tuple[str, ...]) -> None:
    """Measure online inference."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is not installed: apt-get install wrk util-linux")
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        raise SystemExit(f"needs cores {SERVER_CORE} and {CLIENT_CORE}")
    chosen = [each for each in CONTESTANTS if not only or each.name in only]
    cases = prepare(chosen)
    os.sched_setaffinity(0, {CLIENT_CORE})  # this process must not use the server's core either
    runs: dict[str, list[Figures]] = {contestant.name: [] for contestant in chosen}
    errors: list[str] = []
    further: list[float] = []
    for number in range(1, rounds + 1):
        for contestant in chosen:
            try:
                figures = measure(contestant, cases[contestant.model], seconds)
                if contestant.name == TRIVET:
                    further.append(further_worker(cases[FLIGHTS], seconds))
            except (FailedError, OSError, subprocess.CalledProcessError) as error:
                errors.append(f"{contestant.name}, round {number}: {error}")
                print(errors[-1], flush=True)
                continue
            runs[contestant.name].append(figures)
            print(f"round {number}: {table_row(contestant.name, figures)}", flush=True)
    report = render(runs, errors, further, describe(rounds, seconds))
    print(report)
    if not only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(report)


def prepare(chosen: list[Contestant]) -> dict[str, Case]:
    """Make all that the contestants need; the case of each model that they serve."""
    for folder in ("bodies", "logs"):
        (CACHE / folder).mkdir(parents=True, exist_ok=True)
    for environment in PACKAGES:
        if any(contestant.environment == environment for contestant in chosen):
            install(environment, library_versions())
    cases = {model: case_of(model) for model in {contestant.model for contestant in chosen}}
    if any(contestant.name == "mlflow" for contestant in chosen):
        save_for_mlflow(cases[FLIGHTS].model, cases[FLIGHTS].rows, MLFLOW_MODEL)
    return cases


if __name__ == "__main__":
    main()
