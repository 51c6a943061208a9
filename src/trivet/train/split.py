"""Which rows are fitted, and which are held out to measure the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from trivet.errors import TrainingError
from trivet.rows.arrays import Mask, Rows
from trivet.rows.contract import Target

FEWEST_ROWS = 10
#: A label with fewer rows than this has all of them fitted: one more or less would say nothing.
FEWEST_OF_A_LABEL = 5
#: With fewer held-out rows than this, the metrics are little more than chance.
FEW_HELD_OUT = 50


@dataclass(frozen=True)
class Split:
    """The rows to fit and those to hold out, (rows,), and what a reader of the metrics should know.

    A row without a target is neither.
    """

    fitted: Mask
    held_out: Mask
    warnings: tuple[str, ...]


def split(
    target: Target,
    values: Rows,
    share: float,
    seed: int,
    moments: Rows | None = None,
    groups: Rows | None = None,
) -> Split:
    """Hold out the latest share of rows, a random share of the groups, or a random share.

    ``values`` (rows,) holds positions in the target's labels, or numbers; NaN for a row without a
    target. ``moments`` (rows,) orders the rows in time; rows of one number in ``groups`` (rows,)
    stay together. Without either, each label is held out in proportion. A label that has
    few rows, or would have none to fit, is not held out at all. Raises `TrainingError`.
    """
    known = ~np.isnan(values)
    truth = values[known]
    if len(truth) < FEWEST_ROWS:
        raise TrainingError(
            f"{len(truth)} rows with a target are too few to fit and to hold out; "
            f"give {FEWEST_ROWS}"
        )
    units = np.arange(len(truth), dtype=np.float64)
    if moments is not None:
        held_out = _latest(moments[known], share)
    elif groups is not None:
        units = groups[known]
        held_out = _some_groups(units, share, seed)
    else:
        held_out = _drawn(target, truth, share, seed)
    rare = _not_held_out(target, truth, held_out)
    held_out &= ~np.isin(units, units[np.isin(truth, rare)])
    if not held_out.any():
        raise TrainingError(
            "no row can be held out: each one is needed to fit its label; give more rows"
        )
    every = np.zeros(len(values), dtype=np.bool_)
    every[known] = held_out
    warnings = _warnings(target, truth, rare, int(held_out.sum()))
    return Split(known & ~every, every, tuple(warnings))


def _latest(moments: Rows, share: float) -> Mask:
    """The rows of the last moments, as many as fit in this share; at least those of one moment."""
    latest: Mask = moments > np.quantile(moments, 1 - share)
    if not latest.any():  # the last moment alone has more rows than the share
        latest = moments == moments.max()
    if latest.all():
        raise TrainingError(
            "the time column has the same moment in every row; leave out --time-column to draw "
            "the held-out rows at random"
        )
    return latest


def _some_groups(groups: Rows, share: float, seed: int) -> Mask:
    count = len(np.unique(groups))
    try:
        draw = GroupShuffleSplit(1, test_size=share, random_state=seed)
        (_, drawn), *_ = draw.split(groups, groups=groups)
    except ValueError:  # one part would have no group
        raise TrainingError(
            f"--held-out {share} of {count} group(s) leaves a part without any; change the share, "
            "or leave out --group-column"
        ) from None
    return _mask(drawn, len(groups))


def _drawn(target: Target, truth: Rows, share: float, seed: int) -> Mask:
    rows = np.arange(len(truth))
    labels: Rows | None = None
    if target.task == "classification":
        counts = np.bincount(truth.astype(int), minlength=len(target.labels))
        rows = rows[counts[truth.astype(int)] >= FEWEST_OF_A_LABEL]
        labels = truth[rows]
        if share * len(rows) < len(np.unique(labels)):  # too few to hold out some of each
            labels = None
    try:
        _, drawn = train_test_split(rows, test_size=share, random_state=seed, stratify=labels)
    except ValueError as error:
        raise TrainingError(
            f"--held-out {share} of {len(rows)} rows can't be drawn: {error}; change the share, or "
            "give more rows of each label"
        ) from None
    return _mask(drawn, len(truth))


def _mask(rows: Sequence[int], length: int) -> Mask:
    mask = np.zeros(length, dtype=np.bool_)
    mask[rows] = True
    return mask


def _not_held_out(target: Target, truth: Rows, held_out: Mask) -> list[int]:
    """The labels, by position, that have few rows, or no row that would be fitted."""
    if target.task == "regression":
        return []
    size = len(target.labels)
    all_rows, fitted = (
        np.bincount(some.astype(int), minlength=size) for some in (truth, truth[~held_out])
    )
    return np.flatnonzero((all_rows < FEWEST_OF_A_LABEL) | (fitted == 0)).tolist()


def _warnings(target: Target, truth: Rows, rare: list[int], held_out: int) -> list[str]:
    lines = [
        f"label {target.label_names[at]}: all of its {(truth == at).sum():,} rows are fitted, "
        "so nothing is measured on it"
        for at in rare
    ]
    if held_out < FEW_HELD_OUT:
        lines.append(f"only {held_out} rows are held out: the metrics are rough")
    return lines
