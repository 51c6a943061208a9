"""From fitted estimators to the arrays that `trivet.model.compiled` evaluates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from trivet.model.compiled import CompiledPipeline, Input, Link, Spec
from trivet.train.compile import NotCompilable

Inputs = list[Input]

#: Leaves that one word of a mask holds.
BITS = 64
#: Codes that a category of boosted trees may have: what their sets of categories hold.
CODES = np.arange(256.0)

_BOOSTING_LINKS: dict[str, Link] = {
    "IdentityLink": "identity",
    "LogLink": "log",
    "LogitLink": "logit",
    "MultinomialLogit": "softmax",
}


def compile_estimator(estimator: Any, inputs: Inputs) -> CompiledPipeline:
    """A compiled pipeline of these inputs and a fitted estimator; raises `NotCompilable`."""
    for kinds, compile_kind in ESTIMATORS.items():
        if type(estimator) in kinds:
            try:
                return compile_kind(estimator, inputs)
            except AttributeError as error:  # scikit-learn keeps what trees are made of private
                raise NotCompilable(f"estimator: {error}") from error
    raise NotCompilable(f"estimator: {type(estimator).__name__}")


def _boosting(estimator: Any, inputs: Inputs) -> CompiledPipeline:
    link = _BOOSTING_LINKS.get(type(estimator._loss.link).__name__)
    if link is None:
        raise NotCompilable(f"estimator: loss {estimator.loss!r}")
    inputs, categorical = _as_boosting_sees_them(estimator, inputs)
    known, known_rows = estimator._bin_mapper.make_known_categories_bitsets()
    trees = [tree for turn in estimator._predictors for tree in turn]
    cuts = [CODES if at < categorical else _thresholds(trees, at) for at in range(len(inputs))]
    starts = np.cumsum([0, *(len(each) + 2 for each in cuts)])
    words = -(-max(int(tree.nodes["is_leaf"].sum()) for tree in trees) // BITS)
    masks = np.full((starts[-1], len(trees), words), ~np.uint64(0))
    leaves = np.zeros((len(trees), words * BITS))
    for number, tree in enumerate(trees):
        order, spans = _leaves_in_order(tree.nodes)
        leaves[number, : len(order)] = tree.nodes["value"][order]
        for node, (first, middle, last) in spans.items():
            facts = tree.nodes[node]
            at, missing_left = int(facts["feature_idx"]), bool(facts["missing_go_to_left"])
            if facts["is_categorical"]:
                chosen = _members(tree.raw_left_cat_bitsets[facts["bitset_idx"]])
                unknown = ~_members(known[known_rows[at]])
                left = np.append(chosen | (unknown & missing_left), missing_left)
            else:
                cut = np.searchsorted(cuts[at], facts["num_threshold"])
                left = np.arange(len(cuts[at]) + 1) <= cut
            left = np.append(left, missing_left)
            intervals = masks[starts[at] : starts[at + 1], number]
            intervals[left] &= ~_bits(middle, last, words)
            intervals[~left] &= ~_bits(first, middle, words)
    arrays = {
        "masks": masks,
        "starts": starts[:-1].astype(np.intp),
        "thresholds": np.concatenate(cuts),
        "leaves": leaves,
        "baseline": np.asarray(estimator._baseline_prediction, dtype=np.float64).ravel(),
    }
    return CompiledPipeline(Spec(inputs=tuple(inputs), model="masked_trees", link=link), arrays)


def _as_boosting_sees_them(estimator: Any, inputs: Inputs) -> tuple[Inputs, int]:
    """Inputs in the estimator's order, categories first in codes of its own, and their number."""
    if estimator._preprocessor is None:
        return inputs, 0
    places = np.flatnonzero(estimator.is_categorical_)
    coded: Inputs = []
    for number, place in enumerate(places):
        table = inputs[place].table
        if table is None:
            raise NotCompilable(
                "estimator: a categorical feature that is not encoded from a category"
            )
        asked = np.zeros((len(table), len(inputs)))
        asked[:, place] = table
        codes = estimator._preprocessor.transform(asked)[:, number]
        coded.append(inputs[place].model_copy(update={"table": nullable(codes)}))
    numbers = [inputs[place] for place in np.flatnonzero(~estimator.is_categorical_)]
    return coded + numbers, len(coded)


def _thresholds(trees: Sequence[Any], at: int) -> NDArray[np.float64]:
    """All thresholds at which the trees split an input, ascending."""
    splits = [
        tree.nodes[(tree.nodes["is_leaf"] == 0) & (tree.nodes["feature_idx"] == at)]
        for tree in trees
    ]
    return np.unique(np.concatenate(splits)["num_threshold"])


def _leaves_in_order(nodes: NDArray[Any]) -> tuple[list[int], dict[int, tuple[int, int, int]]]:
    """Leaves from left to right, and for each inner node where among them its children's lie."""
    order: list[int] = []
    spans: dict[int, tuple[int, int, int]] = {}

    def visit(node: int) -> None:
        if nodes["is_leaf"][node]:
            order.append(node)
            return
        first = len(order)
        visit(int(nodes["left"][node]))
        middle = len(order)
        visit(int(nodes["right"][node]))
        spans[node] = (first, middle, len(order))

    visit(0)
    return order, spans


def _members(bitset: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which of the codes 0 to 255 a set of eight words holds."""
    return np.unpackbits(bitset.view(np.uint8), bitorder="little").astype(bool)


def _bits(first: int, last: int, words: int) -> NDArray[np.uint64]:
    """Words in which the bits from ``first`` up to ``last`` are set."""
    number = (1 << last) - (1 << first)
    return np.array(
        [(number >> (BITS * at)) & (2**BITS - 1) for at in range(words)], dtype=np.uint64
    )


def _forest(estimator: Any, inputs: Inputs) -> CompiledPipeline:
    trees = [each.tree_ for each in estimator.estimators_]
    sizes = [tree.node_count for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    children = []
    for root, tree in zip(roots, trees, strict=True):
        own = np.arange(tree.node_count)
        leaf = tree.children_left == -1
        left, right = (
            np.where(leaf, own, tree.children_left),
            np.where(leaf, own, tree.children_right),
        )
        children.append(np.column_stack([left, right]) + root)
    values = np.concatenate([tree.value[:, 0, :] for tree in trees])
    classifier = hasattr(estimator, "classes_")
    arrays = {
        "features": np.maximum(np.concatenate([tree.feature for tree in trees]), 0),
        "thresholds": np.concatenate([tree.threshold for tree in trees]),
        "missing_left": np.concatenate([tree.missing_go_to_left for tree in trees]).astype(bool),
        "children": np.concatenate(children),
        "roots": roots,
        "values": values / values.sum(axis=1, keepdims=True) if classifier else values,
    }
    link: Link = "shares" if classifier else "identity"
    return CompiledPipeline(Spec(inputs=tuple(inputs), model="forest", link=link), arrays)


def _linear(estimator: Any, inputs: Inputs) -> CompiledPipeline:
    arrays = {
        "coefficients": np.ascontiguousarray(np.atleast_2d(estimator.coef_).T),
        "intercept": np.atleast_1d(estimator.intercept_).astype(np.float64),
    }
    link: Link = "identity"
    if isinstance(estimator, LogisticRegression):
        link = "logit" if len(estimator.classes_) == 2 else "softmax"
    return CompiledPipeline(Spec(inputs=tuple(inputs), model="linear", link=link), arrays)


def nullable(values: NDArray[Any]) -> tuple[float | None, ...]:
    """Numbers for a table of an `Input`, with None for NaN."""
    return tuple(None if value != value else float(value) for value in values)


ESTIMATORS: dict[tuple[type, ...], Callable[[Any, Inputs], CompiledPipeline]] = {
    (HistGradientBoostingClassifier, HistGradientBoostingRegressor): _boosting,
    (
        RandomForestClassifier,
        RandomForestRegressor,
        ExtraTreesClassifier,
        ExtraTreesRegressor,
    ): _forest,
    (LogisticRegression, Ridge, LinearRegression): _linear,
}
