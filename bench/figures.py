"""Goals, medians and numbers as text, for the reports of the benchmarks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeVar

T = TypeVar("T")
GOALS = ["| goal of Trivet | limit | measured | |", "|---|---:|---:|---|"]


@dataclass(frozen=True)
class Goal:
    """A figure of Trivet, alone or divided by a peer's, and its limit."""

    text: str
    limit: float
    at_least: bool
    measured: float

    @property
    def row(self) -> str:
        met = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        result = "not measured" if math.isnan(self.measured) else "met" if met else "**missed**"
        limit = f"{'≥' if self.at_least else '≤'} {self.limit:,g}"
        return f"| {self.text} | {limit} | {short(self.measured)} | {result} |"


def short(number: float) -> str:
    """A number with three digits, or more if it is large; a dash for NaN."""
    if math.isnan(number):
        return "-"
    places = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:,.{places}f}"


def medians(rounds: Sequence[T]) -> T:
    """A dataclass whose fields are the medians of the rounds' fields."""
    columns: Any = zip(*map(astuple, rounds), strict=True)
    return type(rounds[0])(*map(statistics.median, columns))


def apart(some: Sequence[float]) -> float:
    """How far measurements of one thing are apart: largest / smallest - 1."""
    return max(some) / min(some) - 1
