"""Collects the training table while it is read: all of its rows, or a random sample of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trivet.rows.arrays import Floats
from trivet.rows.columns import Cells
from trivet.rows.values import Unfit
from trivet.train.values import as_array, coded, joined, of_one_type, value_type, words_among


class Gathered:
    """Collects the cells of chunks by column; ``unusable`` says what no column can hold.

    Cells that hold one of the ``words`` are missing. ``missing_words`` counts them by column and
    word, in all rows that were read, whether they belong to a sample or not.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.rows = 0
        self.missing_words: dict[str, Counter[str]] = {}
        self._words = words
        self.unusable: dict[str, str] = {}
        self._columns: dict[str, list[pa.Array]] = {}

    def add(
        self, cells: Mapping[str, Cells], rows: int, chosen: NDArray[np.int64] | None = None
    ) -> None:
        """Take the cells of some rows, or of the ``chosen`` ones among them.

        A column first seen here is null in all earlier rows.
        """
        count = rows if chosen is None else len(chosen)
        for name in cells:
            self._columns.setdefault(name, [pa.nulls(self.rows)])
        for name, arrays in self._columns.items():
            compact = self._compact(name, cells[name], chosen) if name in cells else pa.nulls(count)
            arrays.append(compact)
        self.rows += count

    def finish(self) -> dict[str, list[pa.Array]]:
        """Hand over all columns, each of one type, and forget them."""
        columns, self._columns = self._columns, {}
        for name, arrays in columns.items():
            try:
                columns[name] = of_one_type(arrays)
            except Unfit:
                kinds = sorted({str(kind) for kind in map(value_type, arrays)} - {"null"})
                self.unusable[name] = f"values of types {' and '.join(kinds)}"
                columns[name] = [pa.nulls(self.rows)]
        return columns

    def position(self, row: int) -> int:
        """Which row of all that were read a row is."""
        return row

    def _compact(self, name: str, cells: Cells, chosen: NDArray[np.int64] | None) -> pa.Array:
        """The cells, dictionary-coded if that is smaller; nulls if no column can hold them."""
        count = len(cells) if chosen is None else len(chosen)
        try:
            array = as_array(cells, self._words)
        except Unfit:
            self.unusable[name] = "values of mixed types"
            return pa.nulls(count)
        if words := words_among(cells, array):
            self.missing_words[name] = self.missing_words.get(name, Counter()) + words
        try:
            return coded(array if chosen is None else array.take(pa.array(chosen)))
        except pa.ArrowNotImplementedError:  # such as lists: no feature is made of them
            self.unusable[name] = f"values of type {array.type}"
            return pa.nulls(count)


class Sampled(Gathered):
    """Keeps a random sample: each row draws a number, and the rows with the ``most`` lowest stay.

    That takes one pass and the memory of twice the sample, and gives the same rows however the
    table is cut into chunks.
    """

    def __init__(self, words: Sequence[str], most: int, seed: int) -> None:
        super().__init__(words)
        self._most, self._draw, self._limit = most, np.random.default_rng(seed), math.inf
        self._keys: Floats = np.empty(0)
        self._positions: NDArray[np.int64] = np.empty(0, np.int64)
        self._seen = 0

    def add(
        self, cells: Mapping[str, Cells], rows: int, chosen: NDArray[np.int64] | None = None
    ) -> None:
        """Take the cells of the rows that may belong to the sample."""
        keys = self._draw.random(rows)
        chosen = np.flatnonzero(keys < self._limit)
        super().add(cells, rows, chosen)
        self._keys = np.append(self._keys, keys[chosen])
        self._positions = np.append(self._positions, self._seen + chosen)
        self._seen += rows
        if self.rows > 2 * self._most:
            self._shrink()

    def finish(self) -> dict[str, list[pa.Array]]:
        """The columns of the sample."""
        if self.rows > self._most:
            self._shrink()
        return super().finish()

    def position(self, row: int) -> int:
        """Which row of all that were read a row is."""
        return int(self._positions[row])

    def _shrink(self) -> None:
        stay = np.sort(np.argpartition(self._keys, self._most)[: self._most])
        self._columns = {
            name: [coded(joined(arrays).take(pa.array(stay)))]
            for name, arrays in super().finish().items()
        }
        self.rows, self._keys, self._positions = self._most, self._keys[stay], self._positions[stay]
        self._limit = float(self._keys.max())
