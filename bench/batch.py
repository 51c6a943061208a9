"""What batch inference costs: millions of flights, predicted by Trivet and by its peers.

    make bench-batch
    .venv/bin/python bench/batch.py --rows 200000 --large 0 --rounds 1 --only trivet --only pandas

Each contestant is a process of its own that reads a table, predicts, writes and ends, on all cores.
All predict with the same fitted pipeline, and every answer is compared with that of naive pandas.
Rounds go through all contestants in turn, so that a noisy minute spreads; medians are reported, in
bench/results/batch.md. With --only, --model or another number of --rows they are printed alone.
Needs Linux, memory for what the peers hold, and disk: 0.3 GB for a million --rows or --large rows.
What is installed for the peers, and the tables but the largest, stay in .bench.
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
BYTES_A_ROW = 300  # on disk: the table and the answers, as CSV and as Parquet


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
        """One more run of a contestant; none if it has not ended in time before."""
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
            os.sync()  # what is still to be written must not slow the next one down
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
    """The answers of naive pandas for the training flights."""
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
    """A Dask scheduler and its workers, of one thread each: an address, and their process ids."""
    from distributed import Client  # only where Trivet can use it

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
    help="Rows that Trivet alone predicts, once, to see it grow; 0: leave out.",
)
@click.option("--limit", default=300, show_default=True, help="Seconds for a run of --rows.")
@click.option("--model", "models", multiple=True, type=click.Choice([*ESTIMATORS]))
@click.option("--only", multiple=True, type=click.Choice([each.name for each in CONTESTANTS]))
def main(
    rounds: int, rows: int, large: int, limit: int, models: tuple[str, ...], only: tuple[str, ...]
) -> None:
    """Measure batch inference."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves no contestant behind
    need_disk(max(rows, large) * BYTES_A_ROW)
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
        gigabytes = f"{wanted / 1e9:.0f} GB of disk, {free / 1e9:.0f} are free"
        raise SystemExit(f"needs {gigabytes}; free some, or ask for fewer --rows or --large 0")


def prepare(chosen: list[Contestant], models: Sequence[str]) -> None:
    for folder in ("logs", "out", "mlflow"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    for model in models:
        train(model)
    libraries = artifact(models[0]).manifest.libraries
    for environment in PACKAGES:
        # Naive pandas, which all are compared with, is run in any case.
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
    """Rows as pandas reads them from the table, for the signature of MLflow's model."""
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
        f"{platform.python_version()}. {rows:,} flights, the training flights over and over. "
        f"Figures are medians over rounds, here {rounds}; a run has {limit} s at most."
    )


if __name__ == "__main__":
    main()
