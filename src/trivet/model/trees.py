"""Ensembles of trees as plain arrays, evaluated for many rows at once.

Boosted trees are evaluated without walking them, as in QuickScorer (Lucchese et al., SIGIR 2015).
A tree's leaves are bits, from left to right. A node that sends a row to the right rules out the
leaves below its left child, so the leaf that a row reaches is the lowest bit that no node rules
out. Which leaves a feature rules out depends only on where its value lies among the thresholds. So
one table holds a mask for each feature and interval, and a row costs one lookup and one AND per
feature.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivet.rows.arrays import Floats, Table

Ints = NDArray[np.intp]

#: Up to this many rows, searching value by value is faster than column by column.
FEW_ROWS = 16
#: Rows evaluated together: few enough that their masks stay in the processor's cache.
ROWS_AT_ONCE = 512


class MaskedTrees:
    """Boosted trees as masks of leaves, for each interval of each feature.

    ``masks`` is (intervals of all features x trees x words of 64 leaves). The intervals of a
    feature start at ``starts[feature]``: one for each of its ``thresholds`` (values up to it), one
    for values above all of them, one for NaN. ``leaves`` is (trees x leaves), ``baseline``
    (scores,); tree ``t`` adds to score ``t % scores``.
    """

    def __init__(
        self,
        masks: NDArray[np.uint64],
        starts: Ints,
        thresholds: Floats,
        leaves: Floats,
        baseline: Floats,
    ) -> None:
        masks = masks.astype(np.uint32) if leaves.shape[1] <= 32 else masks
        #: (intervals x trees), and x words of 64 leaves if a tree has more than one.
        self._masks = masks[:, :, 0] if masks.shape[2] == 1 else masks
        leaves = leaves.copy()
        leaves[: len(baseline)] += baseline[:, None]  # so that the sums have it
        self._leaves, self._scores = leaves.ravel(), len(baseline)
        #: The place before each tree's first leaf.
        self._before = np.arange(len(leaves)) * leaves.shape[1] - 1
        ends = np.append(starts[1:], len(masks))
        at = np.cumsum(np.append(0, ends - starts - 2))
        # NaN sorts after infinity, so it lands in the interval after the last of these.
        self._thresholds = [np.append(thresholds[low:high], np.inf) for low, high in pairwise(at)]
        self._starts = starts
        lists = ([cuts.tolist() for cuts in self._thresholds], starts.tolist(), (ends - 1).tolist())
        self._by_feature = list(zip(*lists, strict=True))

    def scores(self, features: Table) -> Floats:
        """Sums of leaves and baseline, (rows x scores), for features, (rows x features)."""
        if len(features) <= FEW_ROWS:
            masks = self._masks.take(self._intervals_of_few(features), axis=0)
            return self._sums(np.bitwise_and.reduce(masks, axis=1))
        intervals = self._intervals(np.asarray(features))
        sums = np.empty((len(features), self._scores))
        for some in _slices(len(features)):
            left = self._masks.take(intervals[some, 0], axis=0)
            for at in range(1, intervals.shape[1]):
                left &= self._masks.take(intervals[some, at], axis=0)
            sums[some] = self._sums(left)
        return sums

    def _intervals(self, features: Floats) -> Ints:
        """The row of ``masks`` that each feature selects, (rows x features)."""
        intervals = np.empty(features.shape, dtype=np.intp, order="F")
        for at, (cuts, start) in enumerate(zip(self._thresholds, self._starts, strict=True)):
            np.add(np.searchsorted(cuts, features[:, at]), start, out=intervals[:, at])
        return intervals

    def _intervals_of_few(self, features: Table) -> Ints:
        few = [
            [
                start + bisect_left(cuts, value) if value == value else nan
                for value, (cuts, start, nan) in zip(row, self._by_feature, strict=True)
            ]
            for row in (features if isinstance(features, list) else features.tolist())
        ]
        return np.array(few, dtype=np.intp).reshape(len(few), len(self._starts))

    def _sums(self, left: NDArray[np.integer[Any]]) -> Floats:
        """The scores of rows, by the leaves that are left to them in each tree."""
        if left.ndim == 2:
            reached = _count_to_lowest(left) + self._before
        else:
            word = (left != 0).argmax(axis=2)
            bits = np.take_along_axis(left, word[:, :, None], axis=2)[:, :, 0]
            reached = word * 64 + _count_to_lowest(bits) + self._before
        values = self._leaves.take(reached)
        rounds = values.shape[1] // self._scores
        sums: Floats = np.add.reduce(values.reshape(-1, rounds, self._scores), axis=1)
        return sums


class Forest:
    """Trees whose leaves are averaged; features are compared in float32, as scikit-learn does.

    ``split_features``, ``thresholds`` and ``missing_left`` are (nodes,), ``children`` is (nodes x
    2: left, right; a leaf is its own child), ``roots`` (trees,), ``values`` (nodes x scores).
    """

    def __init__(
        self,
        split_features: Ints,
        thresholds: Floats,
        missing_left: NDArray[np.bool_],
        children: Ints,
        roots: Ints,
        values: Floats,
    ) -> None:
        self._split_features, self._thresholds = split_features, thresholds
        self._missing_left = missing_left
        self._children, self._roots, self._values = children.ravel(), roots, values

    def scores(self, features: Table) -> Floats:
        """Means of leaves, (rows x scores), for features, (rows x features)."""
        features = np.asarray(features)
        means = np.empty((len(features), self._values.shape[1]))
        for some in _slices(len(features)):
            with np.errstate(over="ignore"):  # what float32 can't hold lies beyond all thresholds
                numbers = features[some].astype(np.float32)
            means[some] = self._values[self._reached(numbers)].mean(axis=1)
        return means

    def _reached(self, features: NDArray[np.float32]) -> Ints:
        """The leaf nodes that rows reach, (rows x trees)."""
        rows, width = features.shape
        nodes = np.tile(self._roots, rows)
        offsets = np.repeat(np.arange(rows) * width, len(self._roots))
        flat, walking = features.ravel(), np.arange(len(nodes))
        while len(walking):
            at = nodes[walking]
            values = flat[offsets[walking] + self._split_features[at]]
            right = ~(values <= self._thresholds[at]) & ~(np.isnan(values) & self._missing_left[at])
            nodes[walking] = self._children[2 * at + right]
            walking = walking[nodes[walking] != at]
        return nodes.reshape(rows, -1)


def _slices(rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE))


def _count_to_lowest(words: NDArray[Any]) -> NDArray[np.uint8]:
    """The number of bits up to and including the lowest that is set."""
    count: NDArray[np.uint8] = np.bitwise_count(words ^ (words - words.dtype.type(1)))
    return count
