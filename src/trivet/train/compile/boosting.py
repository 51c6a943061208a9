"""Fitted boosted trees as masks of leaves, as `trivet.model.trees.MaskedTrees` evaluates them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivet.model.compiled import CompiledPipeline, Link, Spec
from trivet.model.features import Feature
from trivet.train.compile import NotCompilable
from trivet.train.compile.features import Encoded, expanded, table_of

#: Leaves that one word of a mask holds.
BITS = 64
#: The codes that a category may have: as many as a bitset of scikit-learn's boosted trees holds.
CODES = np.arange(256.0)

LINKS: dict[str, Link] = {
    "IdentityLink": "identity",
    "LogLink": "log",
    "LogitLink": "logit",
    "MultinomialLogit": "softmax",
}


def compile_boosting(estimator: Any, made: Sequence[Feature | Encoded]) -> CompiledPipeline:
    """The compiled pipeline of these features and fitted boosted trees; raises `NotCompilable`."""
    link = LINKS.get(type(estimator._loss.link).__name__)
    if link is None:
        raise NotCompilable(f"estimator: loss {estimator.loss!r}")
    features, categorical = _in_estimator_order(estimator, expanded(made))
    trees = [tree for iteration in estimator._predictors for tree in iteration]
    cuts = [CODES if at < categorical else _thresholds(trees, at) for at in range(len(features))]
    starts = np.cumsum([0, *(len(each) + 2 for each in cuts)])
    most = max(int(tree.nodes["is_leaf"].sum()) for tree in trees)
    words = -(-most // BITS)
    masks = np.full((starts[-1], len(trees), words), ~np.uint64(0))
    leaves = np.zeros((len(trees), most))
    known, _ = estimator._bin_mapper.make_known_categories_bitsets()
    unknown = [~_members(codes) for codes in known]
    for number, tree in enumerate(trees):
        order, spans = _leaves_in_order(tree.nodes)
        leaves[number, : len(order)] = tree.nodes["value"][order]
        for node, (first, middle, last) in spans.items():
            at = int(tree.nodes[node]["feature_idx"])
            left = _goes_left(tree, node, cuts, unknown)
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
    spec = Spec(features=tuple(features), model="masked_trees", link=link)
    return CompiledPipeline(spec, arrays)


def _in_estimator_order(estimator: Any, features: list[Feature]) -> tuple[list[Feature], int]:
    """Features as the trees see them, and how many of them are categories.

    Categories come first, in codes of the estimator's own.
    """
    if estimator._preprocessor is None:
        return features, 0
    coded: list[Feature] = []
    for number, place in enumerate(np.flatnonzero(estimator.is_categorical_)):
        table = features[place].table
        if table is None:
            raise NotCompilable("estimator: a categorical feature that is no category column")
        asked = np.zeros((len(table), len(features)))
        asked[:, place] = table
        codes = estimator._preprocessor.transform(asked)[:, number]
        coded.append(features[place].model_copy(update={"table": table_of(codes)}))
    numbers = [features[place] for place in np.flatnonzero(~estimator.is_categorical_)]
    return coded + numbers, len(coded)


def _thresholds(trees: Sequence[Any], at: int) -> NDArray[np.float64]:
    """All thresholds at which the trees split a feature, ascending."""
    splits = [
        tree.nodes[(tree.nodes["is_leaf"] == 0) & (tree.nodes["feature_idx"] == at)]
        for tree in trees
    ]
    return np.unique(np.concatenate(splits)["num_threshold"])


def _leaves_in_order(nodes: NDArray[Any]) -> tuple[list[int], dict[int, tuple[int, int, int]]]:
    """The leaves from left to right, and for each inner node where among them its own leaves are.

    The latter as (start of the left child's leaves, start of the right child's, end).
    """
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


def _goes_left(
    tree: Any, node: int, cuts: list[NDArray[np.float64]], unknown: list[NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Which intervals of its feature an inner node sends to the left, (cuts of the feature + 2,).

    ``unknown`` marks, by categorical feature, the codes that training did not see: a node treats
    them as missing.
    """
    facts = tree.nodes[node]
    at, missing_left = int(facts["feature_idx"]), bool(facts["missing_go_to_left"])
    if facts["is_categorical"]:
        chosen = _members(tree.raw_left_cat_bitsets[facts["bitset_idx"]])
        left = np.append(chosen | (unknown[at] & missing_left), missing_left)
    else:
        left = np.arange(len(cuts[at]) + 1) <= np.searchsorted(cuts[at], facts["num_threshold"])
    return np.append(left, missing_left)


def _members(bitset: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which of the codes 0 to 255 a bitset of eight words holds, (256,)."""
    return np.unpackbits(bitset.view(np.uint8), bitorder="little").astype(bool)


def _bits(first: int, last: int, words: int) -> NDArray[np.uint64]:
    """Words in which the bits from ``first`` up to ``last`` are set."""
    number = (1 << last) - (1 << first)
    return np.frombuffer(number.to_bytes(words * BITS // 8, "little"), dtype="<u8")
