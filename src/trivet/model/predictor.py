"""The only way from rows to predictions, for every leg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trivet.errors import ArtifactError, Fault, RecordsRejected
from trivet.model.artifact import Artifact, GoldenRows
from trivet.model.compiled import TOLERANCE, CompiledPipeline
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract, Label
from trivet.rows.values import FAULTS_LISTED, RecordEncoder


@dataclass(frozen=True)
class Predictions:
    """Answers for rows, in order.

    ``values`` holds one label a row (classification; the most probable one, the first of equals) or
    one float a row (regression). ``probabilities`` is (rows x labels), or None for a regression.
    """

    values: list[Label] | list[float]
    probabilities: NDArray[np.float64] | None

    def some(self, start: int, end: int) -> Predictions:
        """Those of the rows from ``start`` up to ``end``."""
        shares = self.probabilities
        return Predictions(self.values[start:end], None if shares is None else shares[start:end])


class Model(Protocol):
    """What answers: a compiled pipeline, or a fitted one."""

    def answers(self, rows: Rows) -> Rows:
        """Probabilities (rows x labels), or numbers (rows,), for encoded rows (rows x features)."""


class Predictor:
    """A model behind its contract."""

    def __init__(self, contract: Contract, model: Model) -> None:
        self.contract = contract
        self.model = model
        #: Turns records, as JSON has them, into rows; raises `RecordsRejected` with the faults.
        self.encode = RecordEncoder(contract).encode

    @classmethod
    def load(cls, artifact: Artifact) -> Predictor:
        """The predictor of an artifact, proven by its golden rows.

        A compiled form is taken where there is one: then nothing is unpickled. Raises
        `ArtifactError` where a file, a library version or a golden answer differs.
        """
        manifest = artifact.manifest
        model: Model
        if manifest.not_compiled is None:
            model = CompiledPipeline.load(artifact.verify())
        else:
            from trivet.model.fitted import (
                FittedPipeline,  # with pandas, which a compiled form spares
            )

            model = FittedPipeline(manifest.contract, artifact.load_pipeline())
        predictor = cls(manifest.contract, model)
        predictor.replay(artifact.golden_rows())
        return predictor

    def predict(self, rows: Rows) -> Predictions:
        """Predictions for rows of floats, (n x features), encoded as `trivet.rows.values` says.

        Raises `RecordsRejected` for values so far out that the model has no finite answer to them.
        """
        answers, labels = self.model.answers(rows), self.contract.target.labels
        if not np.isfinite(answers).all():
            finite = np.isfinite(answers.reshape(len(rows), -1)).all(axis=1)
            expected = "values that the model has a finite answer to"
            raise RecordsRejected(
                [
                    Fault(row=row, code="not_finite", expected=expected)
                    for row in np.flatnonzero(~finite)[:FAULTS_LISTED].tolist()
                ]
            )
        if not labels:
            return Predictions(answers.tolist(), None)
        return Predictions([labels[best] for best in answers.argmax(axis=1)], answers)

    def predict_records(self, records: Iterable[object]) -> Predictions:
        """Predictions for records as JSON has them; raises `RecordsRejected` with every fault."""
        return self.predict(self.stack(self.encode(records)))

    def stack(self, rows: Sequence[Sequence[float]]) -> Rows:
        """Encoded rows as one array, (rows x features); there may be none."""
        shape = (len(rows), len(self.contract.columns))
        return np.array(rows, dtype=np.float64).reshape(shape)

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
