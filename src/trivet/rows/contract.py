"""The contract: what a row is. Inferred once from a training table, then checked everywhere.

Needs nothing but pydantic, so every leg, and any client, can read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr

Kind = Literal["number", "integer", "boolean", "category", "timestamp"]
Task = Literal["classification", "regression"]
#: How text is written that is not written as JSON writes it: see `trivet.rows.written`.
Form = Literal[
    "decimal point",
    "decimal comma",
    "day.month.year",
    "day/month/year",
    "month/day/year",
    "year/month/day",
    "month name",
    "year-month",
    "hour:minute",
]
Label = StrictBool | StrictInt | StrictStr
Value = StrictBool | StrictInt | StrictFloat | StrictStr | None
Record = dict[str, Value]

#: Words for a missing value, unless training is told of others.
MISSING_WORDS = ("NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None")
#: What pandas calls its row labels where it writes them to CSV, reads that again, writes Parquet.
#: Any record may have them, and unless they are features they are ignored.
ROW_LABELS = frozenset({"", "Unnamed: 0", "__index_level_0__"})


class Frozen(BaseModel):
    """A value that is stored in a file: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """One feature: its kind, whether it may be missing, and what training saw of it.

    ``minimum`` and ``maximum`` are numbers, or for a timestamp ISO 8601 text. Values outside them
    are accepted, and so are categories that training did not see. ``missing`` is the share of
    training rows without a value, from 0 to 1. If the categories are ``codes``, they are numbers:
    7, 7.0, "7" and "7.0" are one category. Of any other category, each letter counts. Text of a
    ``form`` is read by it, with or without its ``unit``.
    """

    name: str
    kind: Kind
    nullable: bool
    missing: float
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    categories: tuple[str, ...] = ()
    codes: bool = False
    form: Form | None = None
    unit: str = ""


class Target(Frozen):
    """What is predicted; ``labels`` are a classifier's classes, sorted, in their own type."""

    name: str
    task: Task
    labels: tuple[Label, ...] = ()

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """The labels as JSON writes them: names of keys, and of columns of probabilities."""
        return tuple(
            label if isinstance(label, str) else str(label).lower() for label in self.labels
        )

    @cached_property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the columns of answers: the prediction, and a probability per label."""
        return ("prediction", *(f"probability_{name}" for name in self.label_names))


class LeftOut(Frozen):
    """A column of the training table that is not a feature, and why."""

    name: str
    reason: str


class Contract(Frozen):
    """What a row is: the features in order, and the other columns that it may have.

    ``missing_words`` mean a missing value as text of any feature, in the same case, with or without
    spaces around them. So does empty text, always.
    """

    columns: tuple[Column, ...]
    target: Target
    identifiers: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    missing_words: tuple[str, ...] = MISSING_WORDS
    example: Record

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of ``columns``."""
        return tuple(column.name for column in self.columns)

    @property
    def ignored_names(self) -> frozenset[str]:
        """Names that a record may have besides the features; they do not affect the prediction."""
        others = (column.name for column in self.left_out)
        return frozenset((*self.identifiers, *others, self.target.name))

    @property
    def known_names(self) -> frozenset[str]:
        """All names that a record may have."""
        return self.ignored_names.union(self.feature_names)

    def of_kind(self, *kinds: Kind) -> Iterator[str]:
        """Names of the features of these kinds, in order."""
        return (column.name for column in self.columns if column.kind in kinds)
