"""The only way from rows to predictions, for every leg."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trivet.artifact import Artifact, GoldenRows
from trivet.contract import Contract, Label
from trivet.encode import UNSEEN_LABEL, RecordEncoder
from trivet.errors import ArtifactError

Rows = NDArray[np.float64]

#: How far, relatively, the answer to a golden row may lie from the golden answer.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Predictions:
    """Answers for rows, in order.

    ``values`` holds one label a row (classification; the most probable one, the first of equals) or
    one float a row (regression). ``probabilities`` is (rows x labels), or None for a regression.
    """

    values: list[Label] | list[float]
    probabilities: NDArray[np.float64] | None


class Predictor:
    """A fitted pipeline behind its contract."""

    def __init__(self, contract: Contract, pipeline: Any) -> None:
        self.contract = contract
        self._pipeline = pipeline
        self._encoder = RecordEncoder(contract)

    @classmethod
    def load(cls, artifact: Artifact) -> Predictor:
        """The predictor of an artifact, proven by its golden rows.

        Raises `ArtifactError` where a file, a library version or a golden answer differs.
        """
        predictor = cls(artifact.manifest.contract, artifact.load_pipeline())
        predictor.replay(artifact.golden_rows())
        return predictor

    def predict(self, rows: Rows) -> Predictions:
        """Predictions for rows of floats, (n x features), encoded as `trivet.encode` says."""
        target = self.contract.target
        if target.task == "regression":
            empty = np.empty(0)
            numbers = self._pipeline.predict(to_frame(rows, self.contract)) if len(rows) else empty
            return Predictions([float(number) for number in numbers], None)
        probabilities = (
            self._pipeline.predict_proba(to_frame(rows, self.contract))
            if len(rows)
            else np.empty((0, len(target.labels)))
        )
        best = probabilities.argmax(axis=1)
        return Predictions([target.labels[position] for position in best], probabilities)

    def predict_records(self, records: Iterable[object]) -> Predictions:
        """Predictions for records as JSON has them; raises `RecordsRejected` with every fault."""
        rows = self._encoder.encode(records)
        shape = (len(rows), len(self.contract.columns))
        return self.predict(np.array(rows, dtype=np.float64).reshape(shape))

    def replay(self, golden: GoldenRows) -> None:
        """Raise `ArtifactError` unless the golden rows give the golden answers."""
        answers = self.golden(golden.records)
        for row, (given, expected) in enumerate(zip(answers.answers, golden.answers, strict=True)):
            if not np.allclose(given, expected, rtol=TOLERANCE, atol=0):
                raise ArtifactError(
                    f"golden row {row} gave {given}, but {expected} in training: the model does "
                    "not compute here what it computed there; train it again here"
                )

    def golden(self, records: Iterable[dict[str, Any]]) -> GoldenRows:
        """These records with their answers: probabilities by label, or the one number."""
        records = tuple(records)
        predictions = self.predict_records(records)
        if predictions.probabilities is None:
            answers = [[float(number)] for number in predictions.values]
        else:
            answers = predictions.probabilities.tolist()
        return GoldenRows(records=records, answers=answers)


def to_frame(rows: Rows, contract: Contract) -> pd.DataFrame:
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
