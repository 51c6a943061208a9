"""Fitted estimators as the arrays that `trivet.model.compiled` evaluates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from trivet.model.compiled import CompiledPipeline, Link, Spec
from trivet.model.features import Feature
from trivet.train.compile import NotCompilable
from trivet.train.compile.boosting import compile_boosting
from trivet.train.compile.features import Encoded, expanded, table_of


def compile_estimator(estimator: Any, features: Sequence[Feature | Encoded]) -> CompiledPipeline:
    """The compiled pipeline of these features and a fitted estimator; raises `NotCompilable`."""
    for kinds, compile_kind in ESTIMATORS.items():
        if type(estimator) in kinds:
            try:
                return compile_kind(estimator, features)
            except AttributeError as error:  # what trees are made of is private in scikit-learn
                raise NotCompilable(f"estimator: {error}") from error
    raise NotCompilable(f"estimator: {type(estimator).__name__}")


def _forest(estimator: Any, features: Sequence[Feature | Encoded]) -> CompiledPipeline:
    trees = [each.tree_ for each in estimator.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    children = []
    for root, tree in zip(roots, trees, strict=True):
        own = np.arange(tree.node_count)
        leaf = tree.children_left == -1
        both = (np.where(leaf, own, each) for each in (tree.children_left, tree.children_right))
        children.append(np.column_stack([*both]) + root)
    values = np.concatenate([tree.value[:, 0, :] for tree in trees])
    classifier = hasattr(estimator, "classes_")
    arrays = {
        "split_features": np.maximum(np.concatenate([tree.feature for tree in trees]), 0),
        "thresholds": np.concatenate([tree.threshold for tree in trees]),
        "missing_left": np.concatenate([tree.missing_go_to_left for tree in trees]).astype(bool),
        "children": np.concatenate(children),
        "roots": roots,
        "values": values / values.sum(axis=1, keepdims=True) if classifier else values,
    }
    link: Link = "shares" if classifier else "identity"
    spec = Spec(features=tuple(expanded(features)), model="forest", link=link)
    return CompiledPipeline(spec, arrays)


def _linear(estimator: Any, features: Sequence[Feature | Encoded]) -> CompiledPipeline:
    """Categories take one feature a score, whose table holds what they add to it."""
    learnt = np.atleast_2d(estimator.coef_).T
    folded: list[Feature] = []
    coefficients = []
    for feature in features:
        width = feature.values.shape[1] if isinstance(feature, Encoded) else 1
        own, learnt = learnt[:width], learnt[width:]
        if isinstance(feature, Encoded):
            tables = map(table_of, (feature.values @ own).T)
            folded += [Feature(column=feature.column, table=table) for table in tables]
            own = np.eye(own.shape[1])
        else:
            folded.append(feature)
        coefficients.append(own)
    arrays = {
        "coefficients": np.concatenate(coefficients),
        "intercept": np.atleast_1d(estimator.intercept_).astype(np.float64),
    }
    link: Link = "identity"
    if isinstance(estimator, LogisticRegression):
        link = "logit" if len(estimator.classes_) == 2 else "softmax"
    return CompiledPipeline(Spec(features=tuple(folded), model="linear", link=link), arrays)


Features = Sequence[Feature | Encoded]
ESTIMATORS: dict[tuple[type, ...], Callable[[Any, Features], CompiledPipeline]] = {
    (HistGradientBoostingClassifier, HistGradientBoostingRegressor): compile_boosting,
    (RandomForestClassifier, RandomForestRegressor): _forest,
    (ExtraTreesClassifier, ExtraTreesRegressor): _forest,
    (LogisticRegression, Ridge, LinearRegression): _linear,
}
