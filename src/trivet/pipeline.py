"""The pipeline that is fitted: the file to edit for your own features and estimators.

`build_pipeline` gets the contract and returns an unfitted scikit-learn pipeline. It is fitted on a
frame in which numbers, integers and booleans are float64, timestamps datetime64 and categories
text; a missing value is NaN or NaT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from trivet.errors import SettingsError, did_you_mean
from trivet.model.transforms import timestamp_parts, within_float32
from trivet.rows.contract import Contract, Task


def build_pipeline(
    contract: Contract, estimator: str, params: Mapping[str, Any], seed: int
) -> Pipeline:
    """An unfitted pipeline of two steps, ``features`` and ``estimator``.

    A classifier needs ``predict_proba``. Raises `SettingsError` for an estimator that does not
    exist or is not for the task, and for a parameter that the estimator does not have.
    """
    task = contract.target.task
    fitting = [name for name, known in ESTIMATORS.items() if task in known.classes]
    if estimator not in fitting:
        hint = did_you_mean(estimator, fitting) or f"; choose one of {', '.join(fitting)}"
        raise SettingsError(f"{estimator!r} is not an estimator for {task}{hint}")
    features, classes, fixed = ESTIMATORS[estimator]
    model = classes[task](**fixed)
    known = model.get_params()
    for param in params:
        if param not in known:
            hint = did_you_mean(param, known) or f"; it has {', '.join(known)}"
            raise SettingsError(f"estimator {estimator!r} has no parameter {param!r}{hint}")
    # Keys from a settings file are text, labels may be booleans or integers.
    if isinstance(weights := params.get("class_weight"), Mapping):
        labels = dict(zip(contract.target.label_names, contract.target.labels, strict=True))
        weights = {labels.get(name, name): weight for name, weight in weights.items()}
        params = {**params, "class_weight": weights}
    if "random_state" in known:
        model.set_params(random_state=seed)
    if features is _native_features:  # categories come first, see _by_kind
        model.set_params(categorical_features=list(range(len([*contract.of_kind("category")]))))
    return Pipeline([("features", features(contract)), ("estimator", model.set_params(**params))])


def _native_features(contract: Contract) -> ColumnTransformer:
    """For estimators that handle missing values and categories themselves."""
    codes = OrdinalEncoder(  # the estimator's histograms hold 255 categories per feature
        max_categories=255, handle_unknown="use_encoded_value", unknown_value=np.nan
    )
    return _by_kind(contract, categories=codes, numbers="passthrough", timestamps=[])


def _scaled_features(contract: Contract) -> ColumnTransformer:
    """For linear estimators: no missing values, and all features on one scale."""
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = make_pipeline(_median(add_indicator=True), StandardScaler())
    timestamps = [_median(), StandardScaler()]
    return _by_kind(contract, categories=one_hot, numbers=numbers, timestamps=timestamps)


def _imputed_features(contract: Contract) -> ColumnTransformer:
    """For forests: no missing values; categories as codes, -1 for missing and for unseen."""
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
    )
    numbers = make_pipeline(FunctionTransformer(within_float32), _median())
    return _by_kind(contract, categories=codes, numbers=numbers, timestamps=[_median()])


def _median(add_indicator: bool = False) -> SimpleImputer:
    return SimpleImputer(strategy="median", add_indicator=add_indicator, keep_empty_features=True)


def _by_kind(
    contract: Contract, categories: Any, numbers: Any, timestamps: list[Any]
) -> ColumnTransformer:
    parts = FunctionTransformer(timestamp_parts)
    return ColumnTransformer(
        [
            ("categories", categories, list(contract.of_kind("category"))),
            ("numbers", numbers, list(contract.of_kind("number", "integer", "boolean"))),
            ("timestamps", make_pipeline(parts, *timestamps), list(contract.of_kind("timestamp"))),
        ]
    )


class Estimator(NamedTuple):
    """What `build_pipeline` combines: features, a class per task, and parameters to start from."""

    features: Callable[[Contract], ColumnTransformer]
    classes: Mapping[Task, type[BaseEstimator]]
    fixed: Mapping[str, Any] = {}


ESTIMATORS: Mapping[str, Estimator] = {
    "hist_gradient_boosting": Estimator(
        _native_features,
        {
            "classification": HistGradientBoostingClassifier,
            "regression": HistGradientBoostingRegressor,
        },
    ),
    "random_forest": Estimator(
        _imputed_features,
        {"classification": RandomForestClassifier, "regression": RandomForestRegressor},
    ),
    "extra_trees": Estimator(
        _imputed_features,
        {"classification": ExtraTreesClassifier, "regression": ExtraTreesRegressor},
    ),
    "logistic": Estimator(
        _scaled_features, {"classification": LogisticRegression}, {"max_iter": 1000}
    ),
    "ridge": Estimator(_scaled_features, {"regression": Ridge}),
}
