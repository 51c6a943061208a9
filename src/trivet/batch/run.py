"""Batch inference: a table in, a table of predictions out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from trivet.contract import Contract
from trivet.errors import RecordsRejected, TableError
from trivet.predictor import Predictions, Predictor
from trivet.store import ModelStore, sync
from trivet.tables import absent_columns, check_ending, encode_table, read_table, write_table


@dataclass(frozen=True)
class BatchSettings:
    """What a batch run is told."""

    input: Path
    output: Path
    model: str = "model"
    model_version: str | None = None
    models_dir: Path = Path("models")


@dataclass(frozen=True)
class BatchResult:
    """What a batch run did."""

    rows: int
    absent: list[str]
    model: str
    model_version: str


def batch_predict(settings: BatchSettings) -> BatchResult:
    """Predict every row of ``input`` and write ``output``, which appears whole or not at all.

    The output holds the columns that are no features, then ``prediction``, for a classifier
    ``probability_LABEL`` a label, and ``model_version``. Raises `TrivetError`.
    """
    ending = check_ending(settings.output)
    if settings.output.resolve() == settings.input.resolve():
        raise TableError(f"{settings.output}: is the input too; write to another file")
    artifact = ModelStore(settings.models_dir).artifact(settings.model, settings.model_version)
    contract, version = artifact.manifest.contract, artifact.manifest.version
    predictor = Predictor.load(artifact)
    table = read_table(settings.input)
    rows = encode_table(table, contract, settings.input)
    features = set(contract.feature_names)
    carried = {name: table.column(name) for name in table.column_names if name not in features}
    try:
        predictions = predictor.predict(rows)
    except RecordsRejected as error:
        first = error.faults[0]
        row = (first.row or 0) + 1
        raise TableError(f"{settings.input}: row {row}: not {first.expected}") from error
    added = _prediction_columns(contract, predictions, version)
    if taken := sorted(carried.keys() & added.keys()):
        raise TableError(
            f"{settings.input}: column {taken[0]!r} would appear twice in the output; rename it"
        )
    _write_aside(pa.table(carried | added), settings.output, ending)
    absent = absent_columns(table, contract, settings.input)
    return BatchResult(table.num_rows, absent, artifact.manifest.name, version)


def _prediction_columns(
    contract: Contract, predictions: Predictions, version: str
) -> dict[str, pa.Array]:
    columns = {"prediction": _labels(contract, predictions)}
    if predictions.probabilities is not None:
        for name, values in zip(
            contract.target.label_names, predictions.probabilities.T, strict=True
        ):
            columns[f"probability_{name}"] = pa.array(values, pa.float64())
    columns["model_version"] = pa.array([version] * len(predictions.values), pa.string())
    return columns


def _labels(contract: Contract, predictions: Predictions) -> pa.Array:
    labels = contract.target.labels
    kind = (
        {bool: pa.bool_(), int: pa.int64(), str: pa.string()}[type(labels[0])] if labels else None
    )
    return pa.array(predictions.values, kind or pa.float64())


def _write_aside(table: pa.Table, output: Path, ending: str) -> None:
    """Write a table under another name and rename it, so that ``output`` is never half there."""
    aside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_table(table, aside, ending)
            sync(aside)
            aside.replace(output)
        finally:
            aside.unlink(missing_ok=True)
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or error
        raise TableError(
            f"{output}: can't be written ({reason}); nothing was left there"
        ) from error
