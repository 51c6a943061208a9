"""How well a model predicts rows that it was not fitted on, next to a baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn import metrics

from trivet.rows.arrays import Mask, Rows
from trivet.rows.contract import Target

Scores = dict[str, float | None]
Scorers = dict[str, Callable[[], float]]

HIGHER_IS_BETTER = frozenset({"roc_auc", "average_precision", "accuracy", "r2"})
NEED_TWO_TRUTHS = frozenset({"roc_auc", "average_precision", "r2"})


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


def worse_than(baseline: Scores, metrics: Scores) -> list[str]:
    """A warning that names the metrics in which a model is worse than its baseline, if any."""
    worse = [
        f"{name} {value:.4f} instead of {reference:.4f}"
        for name, value in metrics.items()
        if value is not None and (reference := baseline[name]) is not None
        if (value < reference if name in HIGHER_IS_BETTER else value > reference)
    ]
    return [f"worse than the baseline: {', '.join(worse)}"] if worse else []


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
