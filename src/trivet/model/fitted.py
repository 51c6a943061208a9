"""A fitted scikit-learn pipeline, asked with encoded rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trivet.rows.arrays import Floats
from trivet.rows.contract import Contract
from trivet.rows.values import UNSEEN_LABEL


class FittedPipeline:
    """A fitted pipeline behind its contract: rows become the frame that it was fitted on."""

    def __init__(self, contract: Contract, pipeline: Any) -> None:
        self._contract, self._pipeline = contract, pipeline

    def answers(self, rows: Floats) -> Floats:
        """Probabilities (rows x labels), or numbers (rows,), for encoded rows (rows x features)."""
        target = self._contract.target
        if not len(rows):  # which scikit-learn refuses
            return np.empty((0, len(target.labels)) if target.labels else 0)
        frame = to_frame(rows, self._contract)
        if target.task == "regression":
            numbers: Floats = self._pipeline.predict(frame)
            return numbers
        probabilities: Floats = self._pipeline.predict_proba(frame)
        return probabilities


def to_frame(rows: Floats, contract: Contract) -> pd.DataFrame:
    """Rows of floats as the frame that pipelines are fitted on and asked with.

    Numbers, integers and booleans are float64, timestamps naive UTC datetime64[us], categories text
    (object); a missing value is NaN or NaT.
    """
    columns: dict[str, Any] = {}
    for column, values in zip(contract.columns, rows.T, strict=True):
        if column.kind == "category":
            # The last name answers to -1, the position of an unseen category.
            names = np.array([*column.categories, np.nan, UNSEEN_LABEL], dtype=object)
            positions = np.where(np.isnan(values), len(column.categories), values).astype(np.intp)
            columns[column.name] = pd.Series(names[positions], dtype=object)
        elif column.kind == "timestamp":
            columns[column.name] = np.round(values * 1e6).astype("datetime64[us]")
        else:
            columns[column.name] = values
    return pd.DataFrame(columns)
