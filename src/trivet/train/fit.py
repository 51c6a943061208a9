"""From a table to a fitted model with its metrics and golden rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from trivet.errors import SettingsError, TrainingError
from trivet.model.artifact import GoldenRows, RowCounts
from trivet.model.compiled import CompiledPipeline
from trivet.model.fitted import FittedPipeline, to_frame
from trivet.model.predictor import Predictor
from trivet.pipeline import build_pipeline
from trivet.rows.arrays import Rows
from trivet.rows.columns import encode_column, require_columns
from trivet.rows.contract import Column, Contract, Record, Target
from trivet.rows.values import UNSEEN_LABEL, to_record
from trivet.train.compile import NotCompilable
from trivet.train.compile.pipeline import compile_pipeline
from trivet.train.compile.prove import prove
from trivet.train.evaluate import Scores, hold_out, score
from trivet.train.infer import infer_contract, infer_kind, infer_target
from trivet.train.settings import TrainSettings

GOLDEN_ROWS = 20


@dataclass(frozen=True)
class FittedModel:
    """What a training run made, before it is published.

    ``compiled`` is the pipeline's compiled form, or the reason why it has none.
    """

    pipeline: Pipeline
    compiled: CompiledPipeline | str
    contract: Contract
    metrics: Scores
    baseline: Scores
    golden: GoldenRows
    rows: RowCounts


def fit(table: pa.Table, settings: TrainSettings) -> FittedModel:
    """Fit on the training rows, measure on the held-out ones.

    The model that is measured is the model that is returned: it is not fitted again on all rows.
    Raises `TrainingError`, `TableError` or `SettingsError`.
    """
    target, values = infer_target(table, settings)
    known = ~np.isnan(values)
    moments = _moments(table, settings)
    held_out = np.zeros(len(values), dtype=bool)
    held_out[known] = hold_out(
        None if moments is None else moments[known],
        target,
        values[known],
        settings.held_out,
        settings.seed,
    )
    training = known & ~held_out
    contract, rows = infer_contract(table, target, training, settings)
    pipeline = _fitted(contract, rows[training], values[training], settings)
    model = FittedPipeline(contract, pipeline)
    compiled = _compiled(pipeline, model, contract, rows[held_out])
    return FittedModel(
        pipeline=pipeline,
        contract=contract,
        compiled=compiled,
        metrics=score(target, values[held_out], model.answers(rows[held_out])),
        baseline=_baseline(target, values[training], values[held_out]),
        golden=Predictor(contract, model).golden(_golden_records(contract, rows[held_out])),
        rows=RowCounts(
            total=len(values),
            train=int(training.sum()),
            held_out=int(held_out.sum()),
            without_target=int((~known).sum()),
        ),
    )


def _moments(table: pa.Table, settings: TrainSettings) -> Rows | None:
    name = settings.time_column
    if name is None:
        return None
    require_columns(table.column_names, (name,), settings.data)
    values = table.column(name)
    kind = settings.kinds.get(name) or infer_kind(name, values, settings)
    if kind not in ("timestamp", "integer", "number"):
        raise TrainingError(
            f"time column {name!r} is {kind or values.type}; it must hold timestamps"
        )
    column = Column(name=name, kind=kind, nullable=False, missing=0)
    return encode_column(values, column, settings.data)


def _fitted(contract: Contract, rows: Rows, values: Rows, settings: TrainSettings) -> Pipeline:
    pipeline = build_pipeline(contract, settings.estimator, settings.params, settings.seed)
    truth: Any = values
    if contract.target.task == "classification":
        if not hasattr(pipeline, "predict_proba"):
            raise SettingsError(
                "the pipeline's estimator has no predict_proba; wrap it in CalibratedClassifierCV"
            )
        truth = np.array(contract.target.labels)[values.astype(int)]
    try:
        return pipeline.fit(to_frame(rows, contract), truth)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"scikit-learn could not fit this model: {error}") from error


def _compiled(
    pipeline: Pipeline, model: FittedPipeline, contract: Contract, rows: Rows
) -> CompiledPipeline | str:
    try:
        compiled = compile_pipeline(pipeline, contract)
        prove(compiled, model, contract, rows)
        return compiled
    except NotCompilable as reason:
        return str(reason)


def _baseline(target: Target, fitted: Rows, truth: Rows) -> Scores:
    """Metrics of always answering the training rows' mean, or their labels' shares."""
    nothing, asked = np.zeros((len(fitted), 1)), np.zeros((len(truth), 1))
    if target.task == "regression":
        return score(target, truth, DummyRegressor().fit(nothing, fitted).predict(asked))
    dummy = DummyClassifier(strategy="prior").fit(nothing, fitted)
    return score(target, truth, dummy.predict_proba(asked))


def _golden_records(contract: Contract, rows: Rows) -> list[Record]:
    """Held-out records over their span, one with all missing that may be, one with all unseen."""
    span = np.linspace(0, len(rows) - 1, min(GOLDEN_ROWS, len(rows))).astype(int)
    missing = {column.name: None for column in contract.columns if column.nullable}
    unseen = dict.fromkeys(contract.of_kind("category"), UNSEEN_LABEL)
    return [
        *(to_record(row, contract) for row in rows[span]),
        {**contract.example, **missing},
        {**contract.example, **unseen},
    ]
