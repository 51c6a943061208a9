"""The contestants of `bench/batch.py`: how each reads a table, predicts and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from subprocess import run
from typing import Any

from contestants import CACHE, OWN, PEERS

FOLDER = CACHE / "batch-runs"
MODELS = FOLDER / "models"
CSV, PARQUET = "csv", "parquet"
TRIVET, FLOOR, READING, NAIVE = "trivet", "estimator-alone", "reading-alone", "pandas"
CHUNKS, MLFLOW, DASK, RAY = "pandas-chunks", "mlflow", "dask", "ray-data"


@dataclass(frozen=True)
class Case:
    """One task: a model, and a table of flights to predict with it."""

    model: str
    rows: int
    ending: str


@dataclass(frozen=True)
class Contestant:
    """One way from a table of flights to a table of predictions.

    ``environment`` is a folder in the cache, or None for the project's own. ``source``, in
    ``bench/peers``, and ``how`` say how it was run. ``answers`` is the ending of what it writes, by
    default that of the table, or None if it writes nothing. A ``timer`` prints its own seconds,
    which are reported instead. One that is not ``in_order`` may write the rows in any order.
    """

    name: str
    environment: str | None
    command: str
    how: str
    source: str = ""
    endings: tuple[str, ...] = (CSV, PARQUET)
    answers: str | None = "{ending}"
    in_order: bool = True
    timer: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def bin(self) -> Path:
        return (CACHE / self.environment if self.environment else OWN) / "bin"

    def target(self, case: Case) -> Path | None:
        ending = self.answers and self.answers.format(ending=case.ending)
        return FOLDER / "out" / f"{self.name}.{ending}" if ending else None

    def arguments(self, case: Case, source: Path) -> list[str]:
        program, *rest = self.command.split()
        places = {"peers": PEERS, "models": MODELS, "model": case.model, "saved": saved(case.model)}
        places |= {"source": source, "target": self.target(case)}
        return [str(self.bin / program), *(part.format(**places) for part in rest)]

    def variables(self, pipeline: Path) -> dict[str, str]:
        """Its environment variables: where the pipeline is, and no usage reports."""
        return {"MODEL": str(pipeline), "DO_NOT_TRACK": "true", **self.settings}


def saved(model: str) -> Path:
    """The folder of a model in MLflow's format."""
    return FOLDER / "mlflow" / model


def peer(name: str, script: str, how: str, writes: bool = True, **others: Any) -> Contestant:
    return Contestant(
        name=name,
        environment="batch",
        command=f"python {{peers}}/{script} {{source}}{' {target}' if writes else ''}",
        how=how,
        source=script,
        answers="{ending}" if writes else None,
        **others,
    )


def mlflow() -> Contestant:
    predict = "mlflow models predict --env-manager local --content-type csv"
    return Contestant(
        name=MLFLOW,
        environment="mlflow",
        command=f"{predict} -m {{saved}} -i {{source}} -o {{target}}",
        how=f"`{predict}`; model saved with a signature; writes JSON with the probabilities only",
        source="mlflow_save.py",
        endings=(CSV,),
        answers="json",
        settings={"MLFLOW_DISABLE_TELEMETRY": "true"},
    )


def trivet(extra: str = "", name: str = TRIVET) -> Contestant:
    workers = " --workers auto" if has_option("--workers") else ""
    command = f"trivet batch-predict{workers}{extra}"
    return Contestant(
        name=name,
        environment=None,
        command=f"{command} --models-dir {{models}} --model {{model}} "
        "--input {source} --output {target}",
        how=f"`{command}`; also writes the model's version",
    )


@cache
def has_option(name: str) -> bool:
    """Whether this version of `trivet batch-predict` has an option."""
    asked = [OWN / "bin/trivet", "batch-predict", "--help"]
    return name in run(asked, capture_output=True, text=True, check=True).stdout.split()


CONTESTANTS = [
    trivet(),
    peer(NAIVE, "batch_pandas.py", "`read_csv` or `read_parquet`, all in memory"),
    peer(CHUNKS, "batch_pandas_chunks.py", "100,000 rows at a time"),
    mlflow(),
    peer(
        DASK,
        "batch_dask.py",
        "`map_partitions`; the default scheduler, threads; the default partitions: one row group "
        "of Parquet, or 64 MB of CSV",
    ),
    peer(
        RAY,
        "batch_ray.py",
        "`map_batches` with a class; the default pool of actors",
        in_order=False,
        settings={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
    peer(
        FLOOR,
        "batch_floor.py",
        "one call of `predict_proba` of the pipeline's last step, on all rows, already "
        "transformed; only this call is timed",
        writes=False,
        endings=(PARQUET,),
        timer=True,
    ),
    peer(
        READING,
        "batch_reading.py",
        "pyarrow's `read_csv` or `read_table`, and nothing else",
        writes=False,
    ),
]
