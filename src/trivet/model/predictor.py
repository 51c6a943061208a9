"""The only way from rows to predictions, for every leg."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trivet.errors import ArtifactError, Fault, RecordsRejected
from trivet.model.artifact import RECOVER, Artifact, GoldenRows
from trivet.model.compiled import CompiledPipeline
from trivet.rows.arrays import EncodedRows, Rows
from trivet.rows.contract import Contract, Label
from trivet.rows.records import RecordEncoder
from trivet.rows.values import FAULTS_LISTED

#: How far apart, relatively, two answers to the same row may be.
TOLERANCE = 1e-9


@dataclass(slots=True)  # not frozen, which makes each slower to create
class Predictions:
    """Predictions for rows, in order.

    ``values`` holds one label per row (classification: the most probable, the first if several are)
    or one float per row (regression). ``probabilities`` is (rows x labels); None for a regression.
    """

    values: list[Label] | list[float]
    probabilities: NDArray[np.float64] | None

    def some(self, start: int, end: int) -> Predictions:
        """The predictions for the rows from ``start`` up to, but without, ``end``."""
        shares = self.probabilities
        return Predictions(self.values[start:end], None if shares is None else shares[start:end])

    def records(self, contract: Contract) -> list[dict[str, Any]]:
        """One answer a row: ``prediction``, and a classifier's ``probabilities`` by label."""
        if self.probabilities is None:
            return [{"prediction": number} for number in self.values]
        names = contract.target.label_names
        return [
            {"prediction": label, "probabilities": dict(zip(names, shares, strict=True))}
            for label, shares in zip(self.values, self.probabilities.tolist(), strict=True)
        ]


class Model(Protocol):
    """What answers: a compiled pipeline, or a fitted one."""

    def answers(self, rows: Rows) -> Rows:
        """Probabilities (rows x labels), or numbers (rows,), for encoded rows (rows x columns)."""


class Predictor:
    """A model behind its contract."""

    def __init__(self, contract: Contract, model: Model) -> None:
        self.contract = contract
        self.model = model
        #: Encodes records of JSON values as rows; raises `RecordsRejected` with every fault.
        self.encode = RecordEncoder(contract).encode

    @classmethod
    def load(cls, artifact: Artifact) -> Predictor:
        """The predictor of an artifact, once its golden rows give the golden answers.

        If the artifact has a compiled form, that is used and nothing is unpickled. Raises
        `ArtifactError` if a file, a library version or a golden answer differs.
        """
        manifest = artifact.manifest
        model: Model
        if manifest.not_compiled is None:
            model = CompiledPipeline.load(artifact.verify())
        else:
            # Imported here because it loads pandas, which a compiled model does without.
            from trivet.model.fitted import FittedPipeline

            model = FittedPipeline(manifest.contract, artifact.load_pipeline())
        predictor = cls(manifest.contract, model)
        predictor.replay(artifact.golden_rows())
        return predictor

    def predict(self, rows: Rows) -> Predictions:
        """Predictions for encoded rows (rows x columns), as `trivet.rows.values` encodes them.

        Raises `RecordsRejected` for values so extreme that the model has no finite answer to them.
        """
        answers, labels = self.model.answers(rows), self.contract.target.labels
        if not np.isfinite(answers).all():
            finite = np.isfinite(answers.reshape(len(rows), -1)).all(axis=1)
            extreme = np.flatnonzero(~finite)[:FAULTS_LISTED].tolist()
            expected = "values that the model has a finite answer to"
            faults = [Fault(row=row, code="not_finite", expected=expected) for row in extreme]
            raise RecordsRejected(faults)
        if not labels:
            return Predictions(answers.tolist(), None)
        return Predictions([labels[best] for best in answers.argmax(axis=1).tolist()], answers)

    def predict_records(self, records: Iterable[object]) -> Predictions:
        """Predictions for records of JSON values; raises `RecordsRejected` with every fault."""
        return self.predict(self.stack(self.encode(list(records))))

    def stack(self, rows: EncodedRows) -> Rows:
        """Encoded rows as one array, (rows x columns); there may be none."""
        shape = (len(rows), len(self.contract.columns))
        return np.asarray(rows, dtype=np.float64).reshape(shape)

    def replay(self, golden: GoldenRows) -> None:
        """Raise `ArtifactError` unless the golden rows give the golden answers."""
        answers = self.golden(golden.records)
        if repr(answers.labels) != repr(golden.labels):  # to Python, True equals 1
            raise ArtifactError(
                f"the labels are {answers.labels}, but were {golden.labels} in training; {RECOVER}"
            )
        for row, (given, expected) in enumerate(zip(answers.answers, golden.answers, strict=True)):
            if not np.allclose(given, expected, rtol=TOLERANCE, atol=0):
                raise ArtifactError(
                    f"golden row {row} gives {given}, but gave {expected} in training: the model "
                    "does not compute the same on this machine; train it again here"
                )

    def golden(self, records: Iterable[dict[str, Any]]) -> GoldenRows:
        """These records with their answers: probabilities in the order of labels, or one number."""
        records = tuple(records)
        predictions = self.predict_records(records)
        shares = predictions.probabilities
        answers = np.array(predictions.values if shares is None else shares, dtype=np.float64)
        return GoldenRows(
            labels=self.contract.target.labels,
            records=records,
            answers=answers.reshape(len(records), -1).tolist(),
        )
