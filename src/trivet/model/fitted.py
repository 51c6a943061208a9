"""A fitted scikit-learn pipeline that predicts encoded rows, as a compiled one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trivet.rows.arrays import Floats
from trivet.rows.contract import Contract
from trivet.rows.values import UNSEEN_LABEL


class FittedPipeline:
    """A fitted pipeline with its contract, which says what frame it was fitted on."""

    def __init__(self, contract: Contract, pipeline: Any) -> None:
        self._contract, self._pipeline = contract, pipeline

    def answers(self, rows: Floats) -> Floats:
        """Probabilities (rows x labels), or numbers (rows,), for encoded rows (rows x columns).

        Raises `ValueError` if the pipeline answers in another shape, and whatever it raises itself.
        """
        target = self._contract.target
        if not len(rows):  # scikit-learn refuses no rows
            return np.empty((0, len(target.labels)) if target.labels else 0)
        classifier = target.task == "classification"
        predict = self._pipeline.predict_proba if classifier else self._pipeline.predict
        answers = np.asarray(predict(to_frame(rows, self._contract)), dtype=np.float64)
        shape = (len(rows), len(target.labels)) if classifier else (len(rows),)
        if not classifier and answers.shape == (len(rows), 1):  # as some regressors answer
            answers = answers[:, 0]
        if answers.shape != shape:
            raise ValueError(
                f"{predict.__name__} answered in the shape {answers.shape}, not {shape}"
            )
        return answers


def to_frame(rows: Floats, contract: Contract) -> pd.DataFrame:
    """Encoded rows (rows x columns) as the frame that pipelines are fitted on and predict.

    Numbers, integers and booleans are float64 and share the memory of ``rows``; timestamps are
    naive UTC datetime64[us], categories text (object). A missing value is NaN or NaT.
    """
    columns: dict[str, Any] = {}
    for column, values in zip(contract.columns, rows.T, strict=True):
        if column.kind == "category":
            names = np.array([*column.categories, np.nan, UNSEEN_LABEL], dtype=object)
            positions = np.where(np.isnan(values), len(column.categories), values)
            # An unseen category is at -1, which is the last name.
            columns[column.name] = pd.Series(names[positions.astype(np.intp)], dtype=object)
        elif column.kind == "timestamp":
            columns[column.name] = np.round(values * 1e6).astype("datetime64[us]")
        else:
            columns[column.name] = values
    return pd.DataFrame(columns, copy=False)
