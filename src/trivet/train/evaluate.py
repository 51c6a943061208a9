"""How well a model predicts rows that it was not fitted on, next to a baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn import metrics
from sklearn.model_selection import train_test_split

from trivet.errors import TrainingError
from trivet.rows.arrays import Mask, Rows
from trivet.rows.contract import Target

Scores = dict[str, float | None]
Scorers = dict[str, Callable[[], float]]

FEWEST_ROWS = 10
NEED_TWO_TRUTHS = frozenset({"roc_auc", "average_precision", "r2"})


def hold_out(moments: Rows | None, target: Target, values: Rows, share: float, seed: int) -> Mask:
    """The rows to hold out, (rows,): the latest share, or a random share.

    ``moments`` (rows,) orders the rows in time; where it is None the share is drawn at random, a
    classifier's labels in proportion. Rows of one moment stay on one side. Raises `TrainingError`.
    """
    rows = len(values)
    if rows < FEWEST_ROWS:
        raise TrainingError(
            f"{rows} rows with a target are too few to fit and to hold out; give 10"
        )
    if moments is not None:
        held_out: Mask = moments > np.quantile(moments, 1 - share)
        if not held_out.any() or held_out.all():
            raise TrainingError(
                "the time column has too few different moments to hold out the last"
            )
    else:
        held_out = np.zeros(rows, dtype=bool)
        labels = values if target.task == "classification" else None
        if labels is not None:
            _require_two_rows(target, values)
        try:
            _, drawn = train_test_split(
                np.arange(rows), test_size=share, random_state=seed, stratify=labels
            )
        except ValueError as error:
            raise TrainingError(
                f"--held-out {share} of {rows} rows can't be drawn: {error}; change the share, or "
                "give more rows of each label"
            ) from None
        held_out[drawn] = True
    if target.task == "classification":
        _require_all_labels(target, values, held_out)
    return held_out


def score(target: Target, truth: Rows, answers: Rows) -> Scores:
    """Metrics by name; one that is undefined for these rows is None.

    ``truth`` (n,) holds positions in the target's labels, or numbers; ``answers`` probabilities
    (n x labels), or numbers (n,). With two labels the ranking metrics are those of the second; with
    more, the mean over labels, each against the rest. The Brier score is the mean squared error of
    the probabilities, summed over labels where there are more than two.
    """
    if target.task == "regression":
        scorers = _regression_scorers(truth, answers)
    else:
        scorers = _classification_scorers(truth, answers)
    # Ranking and explained variance need two different truths.
    undefined = NEED_TWO_TRUTHS if len(np.unique(truth)) < 2 else frozenset()
    return {
        name: None if name in undefined else round(float(scorer()), 6)
        for name, scorer in scorers.items()
    }


def _classification_scorers(truth: Rows, probabilities: Rows) -> Scorers:
    labels = np.arange(probabilities.shape[1])
    one_hot = truth[:, None] == labels
    ranked = [1] if len(labels) == 2 else np.flatnonzero(one_hot.any(axis=0) & ~one_hot.all(axis=0))

    def mean_of(metric: Callable[[Mask, Rows], float]) -> float:
        return float(np.mean([metric(one_hot[:, at], probabilities[:, at]) for at in ranked]))

    return {
        "roc_auc": lambda: mean_of(metrics.roc_auc_score),
        "average_precision": lambda: mean_of(metrics.average_precision_score),
        "log_loss": lambda: metrics.log_loss(truth, probabilities, labels=labels),
        "brier_score": lambda: metrics.brier_score_loss(truth, probabilities, labels=labels),
        "accuracy": lambda: (probabilities.argmax(axis=1) == truth).mean(),
    }


def _regression_scorers(truth: Rows, answers: Rows) -> Scorers:
    return {
        "r2": lambda: metrics.r2_score(truth, answers),
        "mean_absolute_error": lambda: metrics.mean_absolute_error(truth, answers),
        "root_mean_squared_error": lambda: metrics.root_mean_squared_error(truth, answers),
    }


def _require_two_rows(target: Target, values: Rows) -> None:
    counts = np.bincount(values.astype(int), minlength=len(target.labels))
    if counts.min() < 2:
        rare = target.labels[int(counts.argmin())]
        raise TrainingError(
            f"target {target.name!r}: only {counts.min()} row has the label {rare!r}, and a label "
            "must be both fitted and held out; give more such rows, or leave it out"
        )


def _require_all_labels(target: Target, values: Rows, held_out: Mask) -> None:
    fitted = set(np.unique(values[~held_out]).astype(int))
    absent = [label for at, label in enumerate(target.labels) if at not in fitted]
    if absent:
        raise TrainingError(
            f"target {target.name!r}: {absent[0]!r} occurs only in held-out rows, so no model can "
            "learn it; give more rows, or leave out --time-column to draw the split at random"
        )
