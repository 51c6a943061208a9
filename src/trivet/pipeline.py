"""The pipeline that is fitted: the file to edit, or to replace, for features and estimators.

`trivet train` calls `build_pipeline` with the contract, and with those of ``estimator``,
``features``, ``params`` and ``seed`` that it takes. The pipeline is fitted on a frame in which
numbers, integers and booleans are float64, timestamps datetime64 and categories text; a missing
value is NaN or NaT. This file is sealed into each model that it builds, so transformers and
estimators that are written here need not be installed where the model is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
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
from sklearn.utils import get_tags

from trivet.errors import SettingsError, did_you_mean
from trivet.model.transforms import timestamp_parts, within_float32
from trivet.rows.contract import Contract, Task


def build_pipeline(
    contract: Contract,
    estimator: str = "hist_gradient_boosting",
    features: str | None = None,
    params: Mapping[str, Any] = MappingProxyType({}),
    seed: int = 0,
) -> Pipeline:
    """An unfitted pipeline of two steps, ``features`` and ``estimator``.

    ``estimator`` is a name in `ESTIMATORS`, or the import path of a class; ``features`` a name in
    `FEATURES`, by default the one that suits the estimator. Raises `SettingsError` for an estimator
    that does not exist or is not for the task, and for a parameter that it does not have.
    """
    task = contract.target.task
    chosen = _imported(estimator, task) if "." in estimator else _named(estimator, task)
    features = features or chosen.features
    if features not in FEATURES:
        hint = did_you_mean(features, FEATURES) or f"; choose one of {', '.join(FEATURES)}"
        raise SettingsError(f"no features {features!r}{hint}")
    model = chosen.classes[task](**chosen.defaults)
    known = model.get_params()
    for param in params:
        if param not in known:
            hint = did_you_mean(param, known) or f"; it has {', '.join(known)}"
            raise SettingsError(f"estimator {estimator!r} has no parameter {param!r}{hint}")
    given: dict[str, Any] = {"random_state": seed}
    if features == "native":  # the categories come first, see _by_kind
        given["categorical_features"] = list(range(len([*contract.of_kind("category")])))
    for param, value in params.items():
        of_columns = param in OF_COLUMNS
        given[param] = _positions(param, value, contract, features) if of_columns else value
    model.set_params(**{name: value for name, value in given.items() if name in known})
    steps = FEATURES[features](contract)
    if not get_tags(model).input_tags.sparse:
        steps.set_params(sparse_threshold=0)  # no sparse matrix, however many categories there are
    return Pipeline([("features", steps), ("estimator", model)])


#: Parameters that name columns, each with an example of its value.
OF_COLUMNS = {
    "categorical_features": '["{0}"]',
    "interaction_cst": '[["{0}", "{1}"]]',
    "monotonic_cst": '{{"{0}": 1}}',
}


def _positions(param: str, value: Any, contract: Contract, features: str) -> Any:
    """The value of a parameter that names columns, with the positions of their features instead.

    Text and None, which name no column, are left as they are. Raises `SettingsError`.
    """
    if value is None or isinstance(value, str):
        return value
    if features == "scaled":
        raise SettingsError(
            f"{param}: columns have no position of their own among 'scaled' features; use "
            "--features native or imputed"
        )
    form: Any = Mapping if param == "monotonic_cst" else (list, tuple)
    groups = value if param == "interaction_cst" and isinstance(value, form) else [value]
    if not all(isinstance(each, form) and all(isinstance(n, str) for n in each) for each in groups):
        ordered = contract.of_kind("number", "integer", "boolean")
        example = OF_COLUMNS[param].format(*[*ordered, *contract.feature_names * 2][:2])
        raise SettingsError(f"{param}: give features by name, such as {example}, not by position")
    kinds = {column.name: column.kind for column in contract.columns}
    for name in chain(*groups):
        if name not in kinds:
            raise SettingsError(f"{param}: there is no feature {name!r}{did_you_mean(name, kinds)}")
        if param == "monotonic_cst" and kinds[name] in ("category", "timestamp"):
            only = "only a number, an integer or a boolean has an order"
            raise SettingsError(f"{param}: {name!r} is a {kinds[name]}; {only}")
    # As _by_kind orders them. A timestamp makes four features, any other column one.
    order = [name for _, _, names in FEATURES[features](contract).transformers for name in names]
    order = [name for name in order for _ in range(4 if kinds[name] == "timestamp" else 1)]
    if param == "monotonic_cst":
        return [value.get(name, 0) for name in order]
    places = [[at for at, name in enumerate(order) if name in names] for names in groups]
    return places if param == "interaction_cst" else places[0]


def _native_features(contract: Contract) -> ColumnTransformer:
    """For estimators that handle missing values and categories themselves."""
    codes = OrdinalEncoder(  # the estimator's histograms hold 255 categories per feature
        max_categories=255, handle_unknown="use_encoded_value", unknown_value=np.nan
    )
    return _by_kind(contract, categories=codes, numbers="passthrough", timestamps=[])


def _scaled_features(contract: Contract) -> ColumnTransformer:
    """For linear estimators: no missing values, and all features on one scale.

    In each column, the categories that only one row has share a feature with all that training did
    not see.
    """
    one_hot = OneHotEncoder(min_frequency=2, handle_unknown="infrequent_if_exist")
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


FEATURES: Mapping[str, Callable[[Contract], ColumnTransformer]] = {
    "native": _native_features,
    "imputed": _imputed_features,
    "scaled": _scaled_features,
}


class Estimator(NamedTuple):
    """The features that suit an estimator, its class per task, and parameters to start from."""

    features: str
    classes: Mapping[Task, Callable[..., BaseEstimator]]
    defaults: Mapping[str, Any] = MappingProxyType({})


ESTIMATORS: Mapping[str, Estimator] = {
    "hist_gradient_boosting": Estimator(
        "native",
        {
            "classification": HistGradientBoostingClassifier,
            "regression": HistGradientBoostingRegressor,
        },
    ),
    "random_forest": Estimator(
        "imputed", {"classification": RandomForestClassifier, "regression": RandomForestRegressor}
    ),
    "extra_trees": Estimator(
        "imputed", {"classification": ExtraTreesClassifier, "regression": ExtraTreesRegressor}
    ),
    "logistic": Estimator("scaled", {"classification": LogisticRegression}, {"max_iter": 1000}),
    # The tolerance is for sparse features, to which no solver has the exact answer.
    "ridge": Estimator("scaled", {"regression": Ridge}, {"tol": 1e-8}),
}


def _named(name: str, task: Task) -> Estimator:
    fitting = [each for each, known in ESTIMATORS.items() if task in known.classes]
    if name not in fitting:
        hint = did_you_mean(name, fitting) or f"; choose one of {', '.join(fitting)}"
        raise SettingsError(
            f"{name!r} is not an estimator for {task}{hint}, or an import path such as "
            "sklearn.ensemble.GradientBoostingClassifier"
        )
    return ESTIMATORS[name]


def _imported(path: str, task: Task) -> Estimator:
    """An estimator of any package, with features that every estimator can take."""
    found = _class_at(path)
    try:
        model = found()
    except TypeError as error:
        raise SettingsError(
            f"estimator {path!r} can't be made without arguments ({error}); make it in a pipeline "
            "file of your own, and name that with --pipeline"
        ) from error
    is_other = is_regressor if task == "classification" else is_classifier
    if not isinstance(model, BaseEstimator) or is_other(model):
        raise SettingsError(f"{path!r} is not an estimator for {task}")
    return Estimator("imputed", {task: found})


def _class_at(path: str) -> Callable[..., Any]:
    if not all(part.isidentifier() for part in path.split(".")):
        raise SettingsError(f"estimator {path!r}: write it as package.Class")
    place, _, name = path.rpartition(".")
    try:
        module = import_module(place)
    except (ImportError, OSError) as error:  # OSError: a library of the system is missing
        missing = (getattr(error, "name", None) or place).partition(".")[0]
        cure = (
            "check its path, and what it needs" if find_spec(missing) else f"pip install {missing}"
        )
        raise SettingsError(f"estimator {path!r}: {error}; {cure}") from error
    found: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(found):
        raise SettingsError(f"estimator {path!r}: no such class{did_you_mean(name, dir(module))}")
    return found
