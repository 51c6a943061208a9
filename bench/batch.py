"""Measure batch inference: Trivet and its peers predict millions of flights.

    make bench-batch
    .venv/bin/python bench/batch.py --rows 200000 --large 0 --rounds 1 --only trivet --only pandas

Each contestant runs in its own process, on all cores: it reads a table, predicts, writes and exits.
All use the same fitted pipeline, and every answer is compared with that of naive pandas. Each round
runs every contestant once, so a slow minute of the machine affects them all. The report with the
medians goes to bench/results/batch.md; with --only, --model or another number of --rows it is only
printed. Needs Linux, enough memory for the peers, and 0.3 GB of disk per million --rows or --large
rows. The peers' environments and all tables except the largest are kept in .bench.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import pyarrow
from batch_contestants import (
    CONTESTANTS,
    CSV,
    FOLDER,
    MLFLOW,
    MODELS,
    NAIVE,
    PARQUET,
    Case,
    Contestant,
    has_option,
    saved,
    trivet,
)
from batch_data import FLIGHTS, Expected, make_table, table_path
from batch_report import BOOSTING, CLUSTER, LOGISTIC, SMALL, Figures, Runs, cells, render
from contestants import OWN, ROOT
from environments import PACKAGES, install, save_for_mlflow
from processes import FailedError, last_words, stop
from processes import run as run_process

from trivet.model.artifact import Artifact
from trivet.model.store import ModelStore

RESULTS = ROOT / "bench/results/batch.md"
ESTIMATORS = {BOOSTING: "hist_gradient_boosting", LOGISTIC: "logistic"}
ROWS, CLUSTER_WORKERS, READY_SECONDS = 5_000_000, 2, 60
BYTES_PER_ROW = 300  # on disk: the table and the predictions, as CSV and as Parquet


class Bench:
    """The contestants' runs, case by case."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.runs: Runs = {}
        self.errors: list[str] = []
        self._expected: dict[str, Expected] = {}

    def measure(
        self,
        contestant: Contestant,
        case: Case,
        limit: float | None = None,
        beside: Sequence[int] = (),
    ) -> None:
        """Run a contestant once more, unless an earlier run exceeded the limit."""
        rounds = self.runs.setdefault((contestant.name, case), [])
        if any(not figures.in_time for figures in rounds):
            return
        try:
            figures = self._run(contestant, case, limit or self.limit, beside)
        except (FailedError, OSError, pyarrow.ArrowException) as error:
            what = f"{contestant.name}, {case.model}, {case.rows:,} rows, {case.ending}"
            self.errors.append(f"{what}: {error}")
            print(self.errors[-1], flush=True)
            return
        rounds.append(figures)
        print(f"{case.model} {case.ending} {case.rows:,}: {contestant.name}", end=" ")
        print("|", " | ".join(cells([figures])), flush=True)

    def _run(
        self, contestant: Contestant, case: Case, limit: float, beside: Sequence[int]
    ) -> Figures:
        target, log = contestant.target(case), FOLDER / "logs" / f"{contestant.name}.log"
        variables = contestant.variables(artifact(case.model).path / "model.joblib")
        arguments = contestant.arguments(case, make_table(case.rows, case.ending))
        try:
            ended = run_process(arguments, variables, FOLDER, log, limit, beside)
            if target and ended.in_time:
                self._check(contestant, case, target)
        finally:
            remove(target)
            os.sync()  # pending writes must not slow down the next contestant
        if contestant.timer and ended.in_time:
            return Figures(case.rows, float(last_words(log)))
        return Figures(case.rows, ended.seconds, ended.rss, ended.pss, ended.in_time)

    def _check(self, contestant: Contestant, case: Case, target: Path) -> None:
        expected = self._expected.get(case.model) or expected_of(case.model)
        self._expected[case.model] = expected
        if target.suffix == ".json":
            expected.check_json(target, case.rows)
        else:
            expected.check(target, case.rows, contestant.in_order)


def expected_of(model: str) -> Expected:
    """The predictions of naive pandas for the training flights."""
    case = Case(model, sum(1 for _ in FLIGHTS.open()) - 1, PARQUET)
    naive = next(each for each in CONTESTANTS if each.name == NAIVE)
    source, target = make_table(case.rows, PARQUET), FOLDER / f"expected-{model}.parquet"
    subprocess.run(
        [naive.bin / "python", ROOT / "bench/peers" / naive.source, source, target],
        env={**os.environ, **naive.variables(artifact(model).path / "model.joblib")},
        check=True,
    )
    return Expected.read(target)


def artifact(model: str) -> Artifact:
    return ModelStore(MODELS).artifact(model)


def remove(target: Path | None) -> None:
    if target and target.is_dir():
        shutil.rmtree(target)
    elif target:
        target.unlink(missing_ok=True)


@contextmanager
def cluster() -> Iterator[tuple[str, list[int]]]:
    """A Dask scheduler and workers with one thread each: its address, and their process ids."""
    from distributed import Client  # not in every environment of Trivet

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = ["--no-dashboard", "--host", "127.0.0.1"]
    one_thread = ["--nthreads", "1", "--no-nanny", "--local-directory", FOLDER / "dask"]
    commands = [["scheduler", "--port", str(port), *quiet]]
    commands += [["worker", address, *quiet, *map(str, one_thread)]] * CLUSTER_WORKERS
    processes = []
    try:
        with (FOLDER / "logs/cluster.log").open("wb") as log:
            for command in commands:
                processes.append(
                    subprocess.Popen(
                        [OWN / "bin/dask", *command],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        with Client(address, timeout=READY_SECONDS) as client:
            client.wait_for_workers(CLUSTER_WORKERS, timeout=READY_SECONDS)
        yield address, [process.pid for process in processes]
    finally:
        for process in reversed(processes):
            stop(process)


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rows", default=ROWS, show_default=True, type=click.IntRange(1))
@click.option(
    "--large",
    default=50_000_000,
    show_default=True,
    type=click.IntRange(0),
    help="Rows of a larger table, which only Trivet predicts, once; 0 leaves it out.",
)
@click.option("--limit", default=300, show_default=True, help="Seconds after which a run is ended.")
@click.option("--model", "models", multiple=True, type=click.Choice([*ESTIMATORS]))
@click.option("--only", multiple=True, type=click.Choice([each.name for each in CONTESTANTS]))
def main(
    rounds: int, rows: int, large: int, limit: int, models: tuple[str, ...], only: tuple[str, ...]
) -> None:
    """Measure batch inference."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every contestant is stopped
    need_disk(max(rows, large) * BYTES_PER_ROW)
    models = models or tuple(ESTIMATORS)
    chosen = [each for each in CONTESTANTS if not only or each.name in only]
    prepare(chosen, models)
    bench = Bench(limit)
    cases = [Case(model, rows, ending) for model in models for ending in (CSV, PARQUET)]
    growing = BOOSTING in models and trivet() in chosen
    for _ in range(rounds):
        for case in cases:
            for contestant in chosen:
                if case.ending in contestant.endings:
                    bench.measure(contestant, case)
        if growing:
            for ending in (CSV, PARQUET):
                bench.measure(trivet(), Case(BOOSTING, SMALL, ending))
    if growing and has_option("--cluster"):
        measure_cluster(bench, rows, rounds)
    if growing and large:
        measure_large(bench, large, limit * max(1, large / rows))
    report = render(bench.runs, bench.errors, rows, large, describe(rounds, rows, limit))
    print(report)
    if not only and set(models) == set(ESTIMATORS) and rows == ROWS:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(report)


def need_disk(wanted: int) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(FOLDER).free) < wanted:
        gigabytes = f"{wanted / 1e9:.0f} GB of disk, but {free / 1e9:.0f} GB are free"
        raise SystemExit(f"needs {gigabytes}; free some, or give fewer --rows or --large 0")


def prepare(chosen: list[Contestant], models: Sequence[str]) -> None:
    for folder in ("logs", "out", "mlflow"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    for model in models:
        train(model)
    libraries = artifact(models[0]).manifest.libraries
    for environment in PACKAGES:
        # Naive pandas always runs: all answers are compared with its answers.
        if environment == "batch" or any(each.environment == environment for each in chosen):
            install(environment, libraries)
    if any(each.name == MLFLOW for each in chosen):
        for model in models:
            save_for_mlflow(artifact(model).path / "model.joblib", example(model), saved(model))


def train(model: str) -> None:
    settings = "--target late --id flight_id --time-column time_hour --estimator"
    command = [OWN / "bin/trivet", "train", "--data", FLIGHTS, *settings.split()]
    command += [ESTIMATORS[model], "--model", model, "--models-dir", MODELS]
    subprocess.run(command, cwd=FOLDER, stdout=subprocess.DEVNULL, check=True)


def example(model: str) -> list[dict]:
    """Rows as pandas reads them from the table, for the signature of the MLflow model."""
    import pandas as pd

    names = list(artifact(model).manifest.contract.feature_names)
    return pd.read_csv(FLIGHTS, usecols=names, nrows=1000)[names].to_dict("records")


def measure_cluster(bench: Bench, rows: int, rounds: int) -> None:
    with cluster() as (address, pids):
        on_cluster = trivet(f" --cluster {address}", name=CLUSTER)
        for _ in range(rounds):
            for ending in (CSV, PARQUET):
                bench.measure(on_cluster, Case(BOOSTING, rows, ending), beside=pids)


def measure_large(bench: Bench, rows: int, limit: float) -> None:
    for ending in (CSV, PARQUET):
        try:
            bench.measure(trivet(), Case(BOOSTING, rows, ending), limit)
        finally:
            remove(table_path(rows, ending))


def describe(rounds: int, rows: int, limit: int) -> str:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(": ")[1] for line in info if line.startswith("model name")), "")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"Made by `make bench-batch` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} processors "
        f"({processor or platform.machine()}), {memory:.0f} GB of memory, Python "
        f"{platform.python_version()}. {rows:,} flights: the training flights, repeated. "
        f"Figures are medians of {rounds} rounds; a run is ended after {limit} s."
    )


if __name__ == "__main__":
    main()
