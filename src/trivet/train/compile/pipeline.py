"""From a fitted pipeline to its compiled form, or to the step that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from trivet.model.compiled import CompiledPipeline, Input
from trivet.model.transforms import timestamp_parts, within_float32
from trivet.rows.contract import Contract
from trivet.rows.values import UNSEEN_LABEL
from trivet.train.compile import NotCompilable
from trivet.train.compile.estimators import Inputs, compile_estimator, nullable


def compile_pipeline(pipeline: Pipeline, contract: Contract) -> CompiledPipeline:
    """The compiled form of a pipeline as `trivet.pipeline` builds them; raises `NotCompilable`."""
    features, estimator = pipeline[:-1], pipeline[-1]
    if len(features) != 1 or not isinstance(features[0], ColumnTransformer):
        raise NotCompilable("features: not one ColumnTransformer")
    inputs = _inputs_of(features[0], contract)
    return compile_estimator(estimator, inputs)


def _inputs_of(transformer: ColumnTransformer, contract: Contract) -> Inputs:
    inputs: Inputs = []
    positions = {name: position for position, name in enumerate(contract.feature_names)}
    for name, step, columns in transformer.transformers_:
        if not len(columns) or step == "drop":
            continue
        steps = [each for _, each in step.steps] if isinstance(step, Pipeline) else [step]
        part = [Input(column=positions[column]) for column in columns]
        for each in steps:
            compile_step = _STEPS.get(type(each))
            if compile_step is None:
                raise NotCompilable(f"{name}: {type(each).__name__}")
            part = compile_step(each, part, contract)
        inputs += part
    return inputs


def _function(step: FunctionTransformer, inputs: Inputs, contract: Contract) -> Inputs:
    if step.func in (None, within_float32):  # forests are evaluated in float32 anyway
        return inputs
    if step.func is not timestamp_parts:
        raise NotCompilable(f"function {getattr(step.func, '__name__', step.func)}")
    parts = ("days", "month", "day_of_week", "hour")
    return [entry.model_copy(update={"part": part}) for entry in inputs for part in parts]


def _imputer(step: SimpleImputer, inputs: Inputs, contract: Contract) -> Inputs:
    if step.missing_values is not np.nan and step.missing_values == step.missing_values:
        raise NotCompilable(f"imputer of {step.missing_values!r}")
    filled = [
        entry.model_copy(update={"fill": float(fill)})
        for entry, fill in zip(inputs, step.statistics_, strict=True)
    ]
    marked = step.indicator_.features_ if step.add_indicator else []
    return filled + [Input(column=inputs[at].column, part="missing") for at in marked]


def _scaler(step: StandardScaler, inputs: Inputs, contract: Contract) -> Inputs:
    shifts = step.mean_ if step.with_mean else np.zeros(len(inputs))
    scales = step.scale_ if step.with_std else np.ones(len(inputs))
    return [
        entry.model_copy(update={"shift": float(shift), "scale": float(scale)})
        for entry, shift, scale in zip(inputs, shifts, scales, strict=True)
    ]


def _encoder(step: OneHotEncoder | OrdinalEncoder, inputs: Inputs, contract: Contract) -> Inputs:
    """Tables of what the fitted encoder makes of every category, of none, and of an unseen one."""
    encoded: Inputs = []
    names = [contract.columns[entry.column].name for entry in inputs]
    known = [contract.columns[entry.column].categories for entry in inputs]
    width = getattr(step, "_n_features_outs", [1] * len(inputs))
    start = 0
    for at, entry in enumerate(inputs):
        asked = [*known[at], np.nan, UNSEEN_LABEL]
        columns = {
            name: [categories[0]] * len(asked)
            for name, categories in zip(names, known, strict=True)
        }
        frame = pd.DataFrame({**columns, names[at]: asked}, dtype=object)
        answers = step.transform(frame)[:, start : start + width[at]]
        start += width[at]
        encoded += [entry.model_copy(update={"table": nullable(answer)}) for answer in answers.T]
    return encoded


_STEPS: dict[type, Callable[[Any, Inputs, Contract], Inputs]] = {
    FunctionTransformer: _function,
    SimpleImputer: _imputer,
    StandardScaler: _scaler,
    OneHotEncoder: _encoder,
    OrdinalEncoder: _encoder,
}
