"""The contract: what a row is. Inferred once from a training table, then checked everywhere.

Needs pydantic alone, so each leg, and any client, can read one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, StrictBool, StrictFloat, StrictInt, StrictStr

Kind = Literal["number", "integer", "boolean", "category", "timestamp"]
Task = Literal["classification", "regression"]
Label = StrictBool | StrictInt | StrictStr
Value = StrictBool | StrictInt | StrictFloat | StrictStr | None
Record = dict[str, Value]


class Frozen(BaseModel):
    """A value that is stored with a model: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """One feature: its kind, whether it may be missing, and what training saw of it.

    ``minimum`` and ``maximum`` are numbers, or ISO 8601 text for a timestamp; values beyond them
    are accepted, as are categories that training did not see. ``missing`` is the share of training
    rows without a value, from 0 to 1.
    """

    name: str
    kind: Kind
    nullable: bool
    missing: float
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    categories: tuple[str, ...] = ()


class Target(Frozen):
    """What is predicted; ``labels`` are a classifier's classes, sorted, in the type they had."""

    name: str
    task: Task
    labels: tuple[Label, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels as JSON writes them: what a key or a column of probabilities is called."""
        return tuple(
            label if isinstance(label, str) else str(label).lower() for label in self.labels
        )

    @property
    def answer_names(self) -> tuple[str, ...]:
        """What the columns of answers are called: the prediction, and a probability per label."""
        return ("prediction", *(f"probability_{name}" for name in self.label_names))


class LeftOut(Frozen):
    """A column of the training table that is no feature, and why."""

    name: str
    reason: str


class Contract(Frozen):
    """What a row is: the features in order, and the columns that may stand beside them."""

    columns: tuple[Column, ...]
    target: Target
    identifiers: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    example: Record

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of ``columns``."""
        return tuple(column.name for column in self.columns)

    @property
    def ignored_names(self) -> frozenset[str]:
        """Names that a record may hold beside the features: they do not touch the prediction."""
        others = (column.name for column in self.left_out)
        return frozenset((*self.identifiers, *others, self.target.name))

    @property
    def known_names(self) -> frozenset[str]:
        """Names that a record may hold."""
        return self.ignored_names.union(self.feature_names)

    def of_kind(self, *kinds: Kind) -> Iterator[str]:
        """Names of the features of these kinds, in order."""
        return (column.name for column in self.columns if column.kind in kinds)
