"""Measure online inference: Trivet and its peers serve the published flights model.

    make bench-online
    .venv/bin/python bench/online.py --rounds 1 --seconds 2 --only trivet --only fastapi-empty

Each contestant runs in its own process on one core and answers wrk, which runs on another: one row
per request over 32 connections and over one, then 1,000 rows per request. Its first answers are
compared with the pipeline's. Each round runs every contestant once, so a slow minute of the machine
affects them all. The report with the medians goes to bench/results/online.md, or with --only just
to the terminal. Needs Linux, two cores and wrk. The peers' environments are kept in .bench.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import click
from contestants import CACHE, CONTESTANTS, MLFLOW_MODEL, ROOT, TRIVET, Contestant, Row
from contestants import trivet as trivet_with
from environments import PACKAGES, install, save_for_mlflow
from processes import FailedError
from report import Figures, render, table_row
from rows import flight_rows
from servers import CLIENT_CORE, SERVER_CORE, serving

from trivet.model.artifact import Artifact
from trivet.model.fitted import to_frame
from trivet.model.store import ModelStore

NOVEMBER = ROOT / "data/flights_november.csv"
RESULTS = ROOT / "bench/results/online.md"
ROWS, CONNECTIONS, WARM_UP, TOLERANCE = 1000, 32, 2, 1e-9


@dataclass(frozen=True)
class Case:
    """The file of a model, rows without missing values, and the pipeline's answers to them."""

    model: Path
    rows: list[Row]
    expected: list[float]


def load_case(artifact: Artifact) -> Case:
    contract = artifact.manifest.contract
    table = flight_rows(NOVEMBER, contract)
    frame = to_frame(table, contract).dropna()[:ROWS]
    whole = {column.name: int for column in contract.columns if column.kind == "integer"}
    expected = artifact.load_pipeline().predict_proba(frame)[:, 1].tolist()
    return Case(artifact.path / "model.joblib", frame.astype(whole).to_dict("records"), expected)


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
            rows = ROWS * server.load(contestant.many, many, 1, seconds).rate
        return Figures(crowd.rate, crowd.p50, crowd.p99, alone.p50, rows, ready, *server.memory())


def write_body(contestant: Contestant, rows: list[Row]) -> Path:
    path = CACHE / "bodies" / f"{contestant.name}-{len(rows)}.json"
    path.write_text(json.dumps(contestant.body(rows)))
    return path


def check(contestant: Contestant, answer: bytes, expected: list[float]) -> None:
    if contestant.read is None:
        return
    got = contestant.read(json.loads(answer))
    if len(got) != len(expected) or any(
        abs(one - other) > TOLERANCE for one, other in zip(got, expected, strict=True)
    ):
        raise FailedError(f"it answers {got[:3]}..., but the pipeline {expected[:3]}...")


def further_worker(case: Case, seconds: int) -> float:
    """Megabytes (PSS) that each further worker of Trivet adds, measured after a load."""
    sizes = {}
    for workers in (1, 4):
        contestant = trivet_with(workers)
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
        f"({model or platform.machine()}), Python {platform.python_version()}, wrk {wrk[1]}. The "
        f"server runs on core {SERVER_CORE}, wrk on core {CLIENT_CORE}. Figures are medians of "
        f"{rounds} rounds, with {seconds} s per load after {WARM_UP} s to warm up."
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
    artifact = ModelStore(ROOT / "models").artifact("flights")
    case = load_case(artifact)
    prepare(chosen, artifact, case)
    os.sched_setaffinity(0, {CLIENT_CORE})  # this process must not use the server's core either
    runs: dict[str, list[Figures]] = {contestant.name: [] for contestant in chosen}
    errors: list[str] = []
    further: list[float] = []
    for number in range(1, rounds + 1):
        for contestant in chosen:
            try:
                figures = measure(contestant, case, seconds)
                if contestant.name == TRIVET:
                    further.append(further_worker(case, seconds))
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


def prepare(chosen: list[Contestant], artifact: Artifact, case: Case) -> None:
    for folder in ("bodies", "logs"):
        (CACHE / folder).mkdir(parents=True, exist_ok=True)
    for environment in PACKAGES:
        if any(contestant.environment == environment for contestant in chosen):
            install(environment, artifact.manifest.libraries)
    for contestant in chosen:
        if contestant.name == "mlflow":
            save_for_mlflow(case.model, case.rows, MLFLOW_MODEL)


if __name__ == "__main__":
    main()
