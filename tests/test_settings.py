"""Settings as Python gives them: text for paths, lists for tuples, text for limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import FLIGHTS, NOVEMBER, read_csv
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.errors import SettingsError
from trivet.model.artifact import Artifact
from trivet.rows.rejects import MaxRejected
from trivet.train.run import train
from trivet.train.settings import TrainSettings


def test_the_same_settings_in_other_words_lead_to_the_same_version(
    flights: Artifact, flights_store: Path
) -> None:
    words = replace(
        FLIGHTS,
        data=str(FLIGHTS.data),
        identifiers=["flight_id"],
        max_rejected="2%",
        models_dir=str(flights_store),
    )
    assert words.limit == MaxRejected(0.02, is_share=True)
    result = train(words)
    assert not result.trained
    assert result.manifest.version == flights.manifest.version


def test_a_batch_takes_paths_and_lists(flights_store: Path, tmp_path: Path) -> None:
    settings = BatchSettings(
        NOVEMBER,
        tmp_path / "out.csv",
        "flights",
        models_dir=str(flights_store),
        columns=["flight_id"],
        max_rejected=0,
    )
    assert batch_predict(settings).rejected == 0
    assert list(read_csv(tmp_path / "out.csv")[0])[:2] == ["flight_id", "prediction"]


TABLES = {"input": "in.csv", "output": "out.csv"}


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        (TrainSettings, {"identifiers": "flight_id"}, "identifiers=['flight_id']"),
        (TrainSettings, {"max_rejected": "many"}, "a number of rows, or a share such as '1%'"),
        (TrainSettings, {"max_rejected": 0.01}, "a number of rows, or a share such as '1%'"),
        (TrainSettings, {"na_values": "?"}, "na_values=['?']"),
        (TrainSettings, {"na_values": ["NaN", "-999"]}, "na-value -999: a number"),
        (TrainSettings, {"held_out": 20}, "held_out=20"),
        (TrainSettings, {"sample_rows": -1}, "sample_rows=-1: it is a whole number from 1"),
        (TrainSettings, {"seed": 0.5}, "seed=0.5: it is a whole number from 0"),
        (BatchSettings, {"workers": "many"}, "it is a whole number from 1 or 'auto'"),
        (BatchSettings, {"chunk_rows": True}, "chunk_rows=True: it is a whole number from 1"),
        (TrainSettings, {"data": pd.DataFrame()}, "data is the path of a table, not a DataFrame"),
        (BatchSettings, {"columns": "flight_id"}, "columns=['flight_id']"),
        (BatchSettings, {"max_rejected": -1}, "a number of rows, or a share such as '1%'"),
        (BatchSettings, {"input": pd.DataFrame()}, "input is the path of a table, not a DataFrame"),
        (BatchSettings, {"output": None}, "output is the path of a table, not a NoneType"),
    ],
)
def test_settings_that_cannot_be_used(
    settings: type[Any], arguments: dict[str, Any], message: str
) -> None:
    needed = {"data": "in.csv", "target": "y"} if settings is TrainSettings else TABLES
    with pytest.raises(SettingsError) as error:
        settings(**{**needed, **arguments})
    assert message in str(error.value)
