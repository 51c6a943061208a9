"""Training on any table by a plain script: pandas reads it, scikit-learn fits the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

FEW = 20


@dataclass(frozen=True)
class Plain:
    """What a plain script finds: rows with a target, its classes as text, a metric per seed."""

    rows: int
    classes: tuple[str, ...]
    scores: tuple[float, ...]


def train(
    path: Path,
    delimiter: str,
    target: str,
    task: str,
    dropped: Iterable[str],
    dates: Mapping[str, str],
    time_column: str | None,
    seeds: range,
) -> Plain:
    """Fit and measure once per seed, on a table that is split as `trivet train` splits it."""
    table = pd.read_csv(path, sep=delimiter, low_memory=False)
    dropped = {*dropped, *(name for name in table if counts_rows(table[name]))}
    table = table.dropna(subset=[target])
    moments = pd.to_datetime(table[time_column], format="ISO8601") if time_column else None
    names = [*dropped | ({time_column} if time_column else set())]
    features, truth = with_date_parts(table.drop(columns=[*names, target]), dates), table[target]
    scores = []
    for seed in seeds:
        fitted, held_out = drawn(truth, task, seed) if moments is None else last(moments, seed)
        model = pipeline(features.loc[fitted], task, seed)
        model.fit(features.loc[fitted], truth.loc[fitted])
        scores.append(score(model, task, features.loc[held_out], truth.loc[held_out]))
    classes = () if task == "regression" else tuple(sorted(map(name_of, truth.unique())))
    return Plain(len(table), classes, tuple(scores))


def counts_rows(values: pd.Series) -> bool:
    """Whether a column holds the numbers of the rows, from whatever start and in any order."""
    whole = pd.api.types.is_integer_dtype(values) and values.is_unique
    return bool(whole and values.max() - values.min() == len(values) - 1)


def drawn(truth: pd.Series, task: str, seed: int) -> list[pd.Index]:
    """The labels of the rows to fit and to hold out, drawn with each class in proportion."""
    rare = task != "regression" and truth.value_counts().min() < 2
    classes = None if rare or task == "regression" else truth
    return train_test_split(truth.index, test_size=0.2, random_state=seed, stratify=classes)


def last(moments: pd.Series, seed: int) -> list[pd.Index]:
    """The same, with the last rows held out; for all seeds but 0, a sample of those."""
    late = moments > moments.quantile(0.8)
    held_out = moments[late].sample(frac=1, replace=True, random_state=seed)
    return [moments.index[~late], held_out.index if seed else moments.index[late]]


def with_date_parts(table: pd.DataFrame, dates: Mapping[str, str]) -> pd.DataFrame:
    """The table with numbers in place of its dates."""
    parts = {}
    for name in (each for each in dates if each in table):
        moments = pd.to_datetime(table.pop(name), format=dates[name])
        for part in ("year", "month", "day", "dayofweek", "hour"):
            parts[f"{name} {part}"] = getattr(moments.dt, part)
    return table.assign(**parts)


def pipeline(features: pd.DataFrame, task: str, seed: int) -> Any:
    """One-hot for a few different texts, codes for many, and the defaults of the estimator."""
    texts = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    few = [name for name in texts if features[name].nunique() <= FEW]
    many = [name for name in texts if name not in few]
    boosting = {"regression": HistGradientBoostingRegressor}.get(
        task, HistGradientBoostingClassifier
    )
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), few),
            (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), many),
            remainder="passthrough",
        ),
        boosting(random_state=seed),
    )


def score(model: Any, task: str, features: pd.DataFrame, truth: pd.Series) -> float:
    """ROC AUC, accuracy or R2."""
    if task == "binary":
        return float(roc_auc_score(truth, model.predict_proba(features)[:, 1]))
    metric = r2_score if task == "regression" else accuracy_score
    return float(metric(truth, model.predict(features)))


def name_of(label: object) -> str:
    """A label as Trivet writes it: pandas reads whole numbers as floats where some are missing."""
    if isinstance(label, (bool, np.bool_)):
        return str(label).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
