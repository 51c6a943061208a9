"""The fitted steps before the estimator, as features that `trivet.model.features` derives.

Encoders are not read but asked: a table holds what one makes of each category.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from trivet.model.features import Feature
from trivet.model.transforms import timestamp_parts, within_float32
from trivet.rows.contract import Contract
from trivet.rows.values import UNSEEN_LABEL
from trivet.train.compile import NotCompilable

#: The most values that the tables of a one-hot encoding may hold together.
MOST_VALUES = 2**20


class Encoded(NamedTuple):
    """Adjacent features of one category column.

    ``values`` is what the encoder makes of each category, of none, and of an unseen one: (values x
    features), sparse or not.
    """

    column: int
    values: Any


def compile_features(steps: Pipeline, contract: Contract) -> list[Feature | Encoded]:
    """The features that one fitted `ColumnTransformer` makes; raises `NotCompilable`."""
    if len(steps) != 1 or not isinstance(steps[0], ColumnTransformer):
        raise NotCompilable("features: not one ColumnTransformer")
    positions = {name: position for position, name in enumerate(contract.feature_names)}
    compiled: list[Feature | Encoded] = []
    for name, transformer, columns in steps[0].transformers_:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        if not isinstance(columns, list) or not positions.keys() >= set(columns):
            raise NotCompilable(f"{name}: its columns are not a list of names")
        if columns:
            features = [Feature(column=positions[column]) for column in columns]
            compiled += _transformed(name, transformer, features, contract)
    return compiled


def expanded(features: Sequence[Feature | Encoded]) -> list[Feature]:
    """The features one by one, each with a table; raises `NotCompilable` for tables too large."""
    each: list[Feature] = []
    for feature in features:
        if isinstance(feature, Feature):
            each.append(feature)
            continue
        column, values = feature
        if values.shape[0] * values.shape[1] > MOST_VALUES:
            size = f"{values.shape[0]:,} values in {values.shape[1]:,} features"
            raise NotCompilable(f"features: a one-hot encoding of {size}")
        dense = values.toarray() if hasattr(values, "toarray") else values
        each += [Feature(column=column, table=table_of(table)) for table in dense.T]
    return each


def table_of(values: NDArray[Any]) -> tuple[float | None, ...]:
    """Values as the table of a `Feature`, with None for NaN."""
    return tuple(None if value != value else float(value) for value in values)


def _transformed(
    name: str, transformer: Any, features: Sequence[Feature | Encoded], contract: Contract
) -> Sequence[Feature | Encoded]:
    steps = transformer if isinstance(transformer, Pipeline) else [transformer]
    for step in steps:
        compile_step = STEPS.get(type(step))
        if compile_step is None:
            raise NotCompilable(f"{name}: {type(step).__name__}")
        features = compile_step(step, expanded(features), contract)
    return features


def _function(step: FunctionTransformer, features: list[Feature], _: Contract) -> list[Feature]:
    if step.func in (None, within_float32):  # forests are evaluated in float32 anyway
        return features
    if step.func is not timestamp_parts:
        raise NotCompilable(f"function {getattr(step.func, '__name__', step.func)}")
    parts = ("days", "month", "day_of_week", "hour")
    return [each.model_copy(update={"derive": part}) for each in features for part in parts]


def _imputer(step: SimpleImputer, features: list[Feature], _: Contract) -> list[Feature]:
    if step.missing_values is not np.nan and step.missing_values == step.missing_values:
        raise NotCompilable(f"imputer of {step.missing_values!r}")
    filled = [
        each.model_copy(update={"fill": float(fill)})
        for each, fill in zip(features, step.statistics_, strict=True)
    ]
    marked = step.indicator_.features_ if step.add_indicator else []
    return filled + [Feature(column=features[at].column, derive="missing") for at in marked]


def _scaler(step: StandardScaler, features: list[Feature], _: Contract) -> list[Feature]:
    shifts = step.mean_ if step.with_mean else np.zeros(len(features))
    scales = step.scale_ if step.with_std else np.ones(len(features))
    return [
        each.model_copy(update={"shift": float(shift), "scale": float(scale)})
        for each, shift, scale in zip(features, shifts, scales, strict=True)
    ]


def _encoder(
    step: OneHotEncoder | OrdinalEncoder, features: list[Feature], contract: Contract
) -> list[Encoded]:
    names = [contract.columns[each.column].name for each in features]
    known = [contract.columns[each.column].categories for each in features]
    widths = getattr(step, "_n_features_outs", [1] * len(features))
    encoded: list[Encoded] = []
    start = 0
    for feature, name, categories, width in zip(features, names, known, widths, strict=True):
        asked = [*categories, np.nan, UNSEEN_LABEL]
        others = {other: [some[0]] * len(asked) for other, some in zip(names, known, strict=True)}
        frame = pd.DataFrame({**others, name: asked}, dtype=object)
        answers = step.transform(frame)  # sparse, or a frame, if it is set so
        answers = answers if hasattr(answers, "toarray") else np.asarray(answers)
        answers = answers[:, start : start + width]
        start += width
        encoded.append(Encoded(feature.column, answers))
    return encoded


STEPS: dict[type, Callable[[Any, list[Feature], Contract], Sequence[Feature | Encoded]]] = {
    FunctionTransformer: _function,
    SimpleImputer: _imputer,
    StandardScaler: _scaler,
    OneHotEncoder: _encoder,
    OrdinalEncoder: _encoder,
}
