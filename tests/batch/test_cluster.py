"""Batches handed to a Dask cluster of real processes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import NOVEMBER, free_port, run_trivet, wait_until
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.model import keys
from trivet.model.store import ModelStore

pytestmark = pytest.mark.cluster
DASK = Path(sys.executable).with_name("dask")


@dataclass
class Cluster:
    """A scheduler and two workers of one thread each."""

    address: str
    workers: list[subprocess.Popen[bytes]]
    log: Path


@contextmanager
def running(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [DASK, *arguments, "--no-dashboard"], stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    log = tmp_path / "dask.log"
    with ExitStack() as stack:
        stack.enter_context(running(log, "scheduler", "--host", "127.0.0.1", "--port", "0"))
        wait_until(lambda: "Scheduler at:" in log.read_text())
        [address] = re.findall(r"Scheduler at: +(\S+)", log.read_text())
        worker = ("worker", address, "--nthreads", "1", "--no-nanny")
        workers = [
            stack.enter_context(running(log, *worker, "--local-directory", str(tmp_path / name)))
            for name in ("one", "two")
        ]
        wait_until(lambda: len(re.findall("Register worker", log.read_text())) == 2)
        yield Cluster(address, workers, log)


@pytest.fixture
def settings(flights_store: Path, tmp_path: Path) -> BatchSettings:
    """Predicts a table of several parts."""
    header, *rows = NOVEMBER.read_text().splitlines(keepends=True)
    (tmp_path / "table.csv").write_text(header + "".join(rows) * 4)
    output = str(tmp_path / "out.csv")
    return BatchSettings(str(tmp_path / "table.csv"), output, "flights", models_dir=flights_store)


def alone(settings: BatchSettings) -> bytes:
    """What the same run gives on one machine."""
    output = f"{settings.output}.alone.csv"
    batch_predict(replace(settings, output=output))
    return Path(output).read_bytes()


def test_the_workers_of_a_cluster_verify_what_they_are_sent(
    cluster: Cluster, settings: BatchSettings, key: Path, tmp_path: Path
) -> None:
    store = ModelStore(shutil.copytree(settings.models_dir, tmp_path / "models"))
    store.sign("flights", None, keys.Signer(key).sign)
    expected = alone(settings)
    signed = replace(settings, models_dir=store.root, verify_key=f"{key}.pub")
    batch_predict(replace(signed, cluster=cluster.address))
    assert Path(settings.output).read_bytes() == expected


def test_a_cluster_gives_the_same_bytes(
    cluster: Cluster, settings: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 100_000)
    summary = batch_predict(replace(settings, cluster=cluster.address))
    assert (summary.rows, summary.predicted) == (20_000, 20_000)
    assert Path(settings.output).read_bytes() == alone(settings)


def test_a_worker_that_is_killed_costs_its_part_alone(
    cluster: Cluster, settings: BatchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 20_000)
    counts: list[int] = []

    def kill_midway(rows: int, done: int, total: int) -> None:
        counts.append(rows)
        if len(counts) == 5:
            cluster.workers[0].kill()

    summary = batch_predict(replace(settings, cluster=cluster.address), kill_midway)
    assert len(counts) > 50
    assert counts == sorted(set(counts))
    assert cluster.workers[0].wait(10)
    assert summary.predicted == 20_000
    assert Path(settings.output).read_bytes() == alone(settings)


def test_no_scheduler_is_one_line(settings: BatchSettings, tmp_path: Path) -> None:
    result = run_trivet(
        *("batch-predict", "--input", settings.input, "--output", settings.output),
        *("--model", "flights", "--models-dir", settings.models_dir),
        *("--cluster", f"tcp://127.0.0.1:{free_port()}"),
        cwd=tmp_path,
    )
    assert result.returncode == 1
    assert "no scheduler answers there" in result.stderr
    assert "Traceback" not in result.stderr
