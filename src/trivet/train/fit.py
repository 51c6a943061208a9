"""From a table to a fitted model with its metrics and golden rows."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import JsonValue
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from trivet.errors import RecordsRejected, SettingsError, TrainingError
from trivet.model.artifact import EstimatorFacts, GoldenRows
from trivet.model.code import PipelineFile
from trivet.model.compiled import CompiledPipeline
from trivet.model.fitted import FittedPipeline, to_frame
from trivet.model.predictor import Predictor
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract, Record, Target
from trivet.rows.values import UNSEEN_LABEL, to_record
from trivet.train.build import build
from trivet.train.compile import NotCompilable
from trivet.train.compile.features import compile_features, expanded
from trivet.train.compile.pipeline import compile_pipeline
from trivet.train.compile.proof import prove
from trivet.train.evaluate import Scores, score, worse_than
from trivet.train.plan import plan
from trivet.train.settings import OnStep, TrainSettings
from trivet.train.table import TrainingTable

GOLDEN_ROWS = 20
#: Parameters that name labels or columns, for which the estimator has numbers. (Not read from
#: `trivet.pipeline`, which may be replaced.)
NAMING = ("class_weight", "categorical_features", "interaction_cst", "monotonic_cst")


@dataclass(frozen=True)
class FittedModel:
    """What a training run has made, before it is published.

    ``compiled`` is the pipeline's compiled form, or the reason why it has none. ``warnings`` are
    those that were raised while it was fitted.
    """

    pipeline: Any
    compiled: CompiledPipeline | str
    contract: Contract
    metrics: Scores
    baseline: Scores
    golden: GoldenRows
    rows_fitted: int
    rows_held_out: int
    warnings: tuple[str, ...]


def fit(
    table: TrainingTable, settings: TrainSettings, code: PipelineFile, on_step: OnStep
) -> FittedModel:
    """Fit on the training rows, measure on the held-out ones.

    The model that is measured is the model that is returned: it is not fitted again on all rows.
    ``code`` builds the pipeline. ``table`` is emptied to save memory. Raises `TrainingError`,
    `TableError` or `SettingsError`.
    """
    contract, fitted, learnt, weights, held_out, truth, _, notes = plan(table, settings)
    target = contract.target
    baseline, labels = _baseline(target, learnt, truth), _labels(target, learnt)
    pipeline = build(code, contract, settings)
    _require_takes_weights(pipeline, weights)
    on_step("fitting")
    frames = [to_frame(fitted, contract)]
    del fitted, learnt  # free what fitting does not need
    warned = _fit(pipeline, frames, labels, weights, contract)
    _require_order_of_labels(pipeline, target)
    on_step("proving")
    model = FittedPipeline(contract, pipeline)
    answers, metrics, golden = _tried(model, contract, truth, held_out)
    compiled = _compiled(pipeline, model, contract, held_out, answers)
    return FittedModel(
        pipeline=pipeline,
        contract=contract,
        compiled=compiled,
        metrics=metrics,
        baseline=baseline,
        golden=golden,
        rows_fitted=len(labels),
        rows_held_out=len(truth),
        warnings=(*notes, *worse_than(baseline, metrics), *warned),
    )


def _last_step(pipeline: Any) -> Any:
    return pipeline[-1] if isinstance(pipeline, Pipeline) else pipeline


def _require_takes_weights(pipeline: Any, weights: Rows | None) -> None:
    estimator = _last_step(pipeline)
    if weights is not None and not has_fit_parameter(estimator, "sample_weight"):
        raise SettingsError(
            f"{type(estimator).__name__} takes no weights; leave out class_weight and "
            "--weight-column, or choose another estimator"
        )


def _fit(
    pipeline: Any, frames: list[pd.DataFrame], truth: Any, weights: Rows | None, contract: Contract
) -> tuple[str, ...]:
    """Fit a pipeline on the one frame in ``frames``, which is removed from the list.

    ``weights``, (rows,), are for the last step alone. Returns the warnings, a line each.
    Raises `TrainingError`.

    A plain pipeline is fitted step by step, as its own `fit` does, so that the frame can be freed
    before the estimator is fitted.
    """
    plain = type(pipeline) is Pipeline and len(pipeline) > 1 and pipeline.memory is None
    place = "" if plain or not isinstance(pipeline, Pipeline) else f"{pipeline.steps[-1][0]}__"
    given = {} if weights is None else {f"{place}sample_weight": weights}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for not_for_users in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", not_for_users)
        try:
            if plain:
                frames.append(pipeline[:-1].fit_transform(frames.pop(), truth))
            (pipeline[-1] if plain else pipeline).fit(frames.pop(), truth, **given)
        except (ValueError, TypeError) as error:
            what = _with_names(str(error), pipeline, contract)
            raise TrainingError(f"scikit-learn could not fit this model: {what}") from error
    lines = (str(each.message).strip().partition("\n")[0].rstrip(":") for each in caught)
    return tuple(dict.fromkeys(lines))


def _with_names(message: str, pipeline: Any, contract: Contract) -> str:
    """A message of a pipeline's estimator that names columns, not the positions of features."""
    try:
        features = expanded(compile_features(pipeline[:-1], contract))
    except Exception:  # a user's own pipeline may raise anything
        return message
    # Boosted trees count categorical features before all others.
    first = getattr(pipeline[-1], "is_categorical_", None)
    order = range(len(features)) if first is None else np.argsort(~first, kind="stable").tolist()
    columns = (contract.columns[features[at].column] for at in order)
    names = {str(at): repr(column.name) for at, column in enumerate(columns)}
    place = re.compile(r"(?<=\bfeature )(?:at index )?(\d+)\b", re.IGNORECASE)
    return place.sub(lambda found: names.get(found[1], found[0]), message)


def _labels(target: Target, values: Rows) -> Any:
    """What the estimator learns, (rows,): labels, or the numbers of a regression."""
    if target.task == "regression":
        return values
    return np.array(target.labels)[values.astype(int)]


def _require_order_of_labels(pipeline: Any, target: Target) -> None:
    """Raise `TrainingError` if probabilities would be taken for those of other labels."""
    classes, labels = getattr(pipeline, "classes_", target.labels), list(target.labels)
    if labels and np.asarray(classes).tolist() != labels:
        raise TrainingError(
            f"the pipeline's classes_ are {np.asarray(classes).tolist()}; they must be the labels "
            f"that it was fitted on, in this order: {labels}"
        )


def _tried(
    model: FittedPipeline, contract: Contract, truth: Rows, rows: Rows
) -> tuple[Rows, Scores, GoldenRows]:
    """The answers to held-out rows, their metrics, and golden rows; raises `TrainingError`."""
    asked = "held-out rows"
    try:
        answers = model.answers(rows)
        metrics = score(contract.target, truth, answers)
        asked = "rows with missing values, or with categories that training did not see"
        return answers, metrics, Predictor(contract, model).golden(_golden_records(contract, rows))
    except (ValueError, TypeError, RecordsRejected) as error:
        raise TrainingError(f"the fitted pipeline can't predict {asked}: {error}") from error


def _compiled(
    pipeline: Any, model: FittedPipeline, contract: Contract, rows: Rows, answers: Rows
) -> CompiledPipeline | str:
    try:
        compiled = compile_pipeline(pipeline, contract)
        prove(compiled, model, contract, rows, answers)
        return compiled
    except NotCompilable as reason:
        return str(reason)
    except Exception as error:  # a user's own pipeline may raise anything
        return f"{type(error).__name__}: {error}"


def estimator_facts(pipeline: Any, given: Mapping[str, JsonValue]) -> EstimatorFacts:
    """The class and the parameters of a pipeline's last step, which has been fitted.

    Those that name labels or columns are shown as they were ``given``.
    """
    estimator = _last_step(pipeline)
    kind = type(estimator)
    known = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    known |= {name: value for name, value in given.items() if name in NAMING}
    params = {name: _as_json(value) for name, value in sorted(known.items())}
    return EstimatorFacts(name=kind.__name__, params=params)


def _as_json(value: object) -> JsonValue:
    """A parameter's value, or, if JSON has no such value, its text."""
    try:
        as_json: JsonValue = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return repr(value)
    return as_json


def _baseline(target: Target, fitted: Rows, truth: Rows) -> Scores:
    """The metrics of always predicting the mean of the training rows, or the shares of labels."""
    nothing, asked = np.zeros((len(fitted), 1)), np.zeros((len(truth), 1))
    if target.task == "regression":
        return score(target, truth, DummyRegressor().fit(nothing, fitted).predict(asked))
    dummy = DummyClassifier(strategy="prior").fit(nothing, fitted)
    return score(target, truth, dummy.predict_proba(asked))


def _golden_records(contract: Contract, rows: Rows) -> list[Record]:
    """Held-out records, one with every nullable value missing, one with all categories unseen."""
    span = np.linspace(0, len(rows) - 1, min(GOLDEN_ROWS, len(rows))).astype(int)
    missing = {column.name: None for column in contract.columns if column.nullable}
    unseen = dict.fromkeys(contract.of_kind("category"), UNSEEN_LABEL)
    return [
        *(to_record(row, contract) for row in rows[span]),
        {**contract.example, **missing},
        {**contract.example, **unseen},
    ]
