"""The body of an answer says the same however many rows it answers."""

from __future__ import annotations

import numpy as np
import pytest

from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictions
from trivet.online.payloads import json_answer
from trivet.online.schemas import to_json
from trivet.rows.contract import Label, Target

SHARES = (0.0, 1.0, 0.5, 0.1 + 0.2, 1e-5, 1e-7, 5e-324, 1e-300, 1 / 3, 1 - 2**-53)


@pytest.mark.parametrize(
    "labels",
    [(), (False, True), (0, 1, 2), ("50%", '"', "é %b", "a,b", "two\nlines")],
    ids=["a number", "booleans", "whole numbers", "texts"],
)
@pytest.mark.parametrize("rows", [0, 1, 2, 200])
def test_an_answer_is_written_as_json_writes_its_records(
    flights: Artifact, labels: tuple[Label, ...], rows: int
) -> None:
    target = Target(name="y", task="classification" if labels else "regression", labels=labels)
    contract = flights.manifest.contract.model_copy(update={"target": target})
    manifest = flights.manifest.model_copy(update={"contract": contract})
    shares = np.resize(SHARES, (rows, max(len(labels), 1)))
    if labels:
        predictions = Predictions([labels[row % len(labels)] for row in range(rows)], shares)
    else:
        predictions = Predictions(shares[:, 0].tolist(), None)
    content = {
        "predictions": predictions.records(contract),
        "model": manifest.name,
        "model_version": manifest.version,
    }
    assert json_answer(predictions, manifest) == to_json(content)
