"""From a fitted pipeline to its compiled form, or to the step that has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
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
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from trivet.compiled import TOLERANCE, CompiledPipeline, Input, Link, Spec
from trivet.contract import Contract
from trivet.encode import UNSEEN, UNSEEN_LABEL
from trivet.fitted import FittedPipeline
from trivet.pipeline import timestamp_parts, within_float32

Floats = NDArray[np.float64]
Inputs = list[Input]
BITS = 64

VARIED_ROWS, ONE_BY_ONE = 500, 50
FAR_OUT = 1e300


class NotCompilable(Exception):
    """A step of a pipeline that has no compiled form; the argument names it."""


def compile_pipeline(pipeline: Pipeline, contract: Contract) -> CompiledPipeline:
    """The compiled form of a pipeline as `trivet.pipeline` builds them; raises `NotCompilable`."""
    features, estimator = pipeline[:-1], pipeline[-1]
    if len(features) != 1 or not isinstance(features[0], ColumnTransformer):
        raise NotCompilable("features: not one ColumnTransformer")
    inputs = _inputs_of(features[0], contract)
    for kinds, compile_estimator in _ESTIMATORS.items():
        if type(estimator) in kinds:
            try:
                return compile_estimator(estimator, inputs)
            except AttributeError as error:  # scikit-learn keeps what trees are made of private
                raise NotCompilable(f"estimator: {error}") from error
    raise NotCompilable(f"estimator: {type(estimator).__name__}")


def prove(
    compiled: CompiledPipeline, fitted: FittedPipeline, contract: Contract, rows: Floats
) -> None:
    """Raise `NotCompilable` unless both forms give the same answers.

    Asked are these rows, and the same with values missing that may be, with categories unseen, and
    with numbers far out; many at once, and the first of each one by one. Labels must be identical,
    numbers within `TOLERANCE`, relatively.
    """
    for what, asked in _variants(contract, rows):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                expected = fitted.answers(asked)
        except ValueError:  # scikit-learn refuses numbers so far out: there is nothing to compare
            if asked is rows:
                raise
            continue
        one_by_one = np.concatenate([compiled.answers(row[None]) for row in asked[:ONE_BY_ONE]])
        for given, wanted in (
            (compiled.answers(asked), expected),
            (one_by_one, expected[:ONE_BY_ONE]),
        ):
            if not np.allclose(given, wanted, rtol=TOLERANCE, atol=0):
                raise NotCompilable(f"other answers to {what}")
            if wanted.ndim == 2 and (given.argmax(axis=1) != wanted.argmax(axis=1)).any():
                raise NotCompilable(f"other labels for {what}")


def _variants(contract: Contract, rows: Floats) -> Iterator[tuple[str, Floats]]:
    yield "held-out rows", rows
    some = rows[:VARIED_ROWS]
    nullable = np.array([column.nullable for column in contract.columns])
    draw = np.random.default_rng(0)
    for share in (0.3, 1.0):
        missing = nullable & (draw.random(some.shape) < share)
        yield "rows with missing values", np.where(missing, np.nan, some)
    categories = np.array([column.kind == "category" for column in contract.columns])
    yield "rows with unseen categories", np.where(categories, UNSEEN, some)
    numbers = np.array([column.kind in ("number", "integer") for column in contract.columns])
    for extreme in (-FAR_OUT, FAR_OUT):
        yield "rows with extreme numbers", np.where(numbers, extreme, some)


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
        encoded += [entry.model_copy(update={"table": _nullable(answer)}) for answer in answers.T]
    return encoded


_STEPS: dict[type, Callable[[Any, Inputs, Contract], Inputs]] = {
    FunctionTransformer: _function,
    SimpleImputer: _imputer,
    StandardScaler: _scaler,
    OneHotEncoder: _encoder,
    OrdinalEncoder: _encoder,
}


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
        coded.append(inputs[place].model_copy(update={"table": _nullable(codes)}))
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


def _nullable(values: NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(None if value != value else float(value) for value in values)


CODES = np.arange(256.0)
_BOOSTING_LINKS: dict[str, Link] = {
    "IdentityLink": "identity",
    "LogLink": "log",
    "LogitLink": "logit",
    "MultinomialLogit": "softmax",
}
_ESTIMATORS: dict[tuple[type, ...], Callable[[Any, Inputs], CompiledPipeline]] = {
    (HistGradientBoostingClassifier, HistGradientBoostingRegressor): _boosting,
    (
        RandomForestClassifier,
        RandomForestRegressor,
        ExtraTreesClassifier,
        ExtraTreesRegressor,
    ): _forest,
    (LogisticRegression, Ridge, LinearRegression): _linear,
}
