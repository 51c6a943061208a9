"""The frame that a pipeline is fitted on and asked with."""

from __future__ import annotations

import numpy as np

from tests.conftest import NOVEMBER, encoded
from trivet.model.artifact import Artifact
from trivet.model.fitted import FittedPipeline, to_frame


def test_numbers_are_not_copied_and_answers_stay_the_same(flights: Artifact) -> None:
    contract = flights.manifest.contract
    rows = encoded(NOVEMBER, contract)
    by_column = np.asfortranarray(rows)
    frame = to_frame(by_column, contract)
    for name in contract.of_kind("number", "integer", "boolean"):
        assert np.shares_memory(frame[name].to_numpy(), by_column), name
    fitted = FittedPipeline(contract, flights.load_pipeline())
    assert (fitted.answers(by_column) == fitted.answers(rows)).all()
