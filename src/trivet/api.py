"""Trivet from Python: the three legs as functions, and a model to predict with in memory.

    from trivet.api import load, train

    train(data="flights.csv", target="late")
    load().predict(frame)

It is not the package itself that has these names, because ``trivet.train`` is the package of a leg.
Importing this module loads no library of a leg: each function loads its own when it is called.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from trivet.batch.settings import BatchSettings
from trivet.cpus import limit_threads
from trivet.errors import Fault, RecordsRejected, TableError
from trivet.model.artifact import Manifest
from trivet.model.store import DEFAULT_DIRECTORY, DEFAULT_MODEL, ModelStore
from trivet.model.trust import Trust
from trivet.online.settings import ListenSettings, ServeSettings
from trivet.rows.contract import Contract, Kind
from trivet.rows.values import FAULTS_LISTED, as_json_value, expected_of, kind_of_cells
from trivet.train.settings import TrainSettings

if TYPE_CHECKING:
    import pandas as pd

    from trivet.batch.summary import Summary
    from trivet.model.predictor import Predictor
    from trivet.online.gate import Gate
    from trivet.rows.arrays import Rows
    from trivet.rows.columns import Cells
    from trivet.train.run import TrainResult

__all__ = ["LoadedModel", "batch_predict", "create_app", "load", "serve", "train"]

Given = ParamSpec("Given")
Settings = TypeVar("Settings")
Result = TypeVar("Result")


def _takes(
    settings: Callable[Given, Settings],
) -> Callable[[Callable[[Settings], Result]], Callable[Given, Result]]:
    """Give a function of settings the arguments that make them, for type checkers and help()."""

    def give(leg: Callable[[Settings], Result]) -> Callable[Given, Result]:
        @wraps(leg)
        def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            return leg(settings(*args, **kwargs))

        returns = inspect.signature(leg).return_annotation
        signature = inspect.signature(settings).replace(return_annotation=returns)
        call.__signature__ = signature  # type: ignore[attr-defined] # help() reads it
        return call

    return give


@_takes(TrainSettings)
def train(settings: TrainSettings) -> TrainResult:
    """Train a model on a table and publish it, unless it is up to date, as `trivet train` does."""
    from trivet.train.run import train

    return train(settings)


@_takes(BatchSettings)
def batch_predict(settings: BatchSettings) -> Summary:
    """Predict every row of one table, or of many, as `trivet batch-predict` does."""
    from trivet.batch.run import batch_predict

    return batch_predict(settings)


@_takes(ListenSettings)
def serve(settings: ListenSettings) -> None:
    """Answer requests over HTTP until Ctrl-C or SIGTERM, which end the process with code 0."""
    limit_threads(1)
    from trivet.online.server import serve

    serve(settings)


@_takes(ServeSettings)
def create_app(settings: ServeSettings) -> Gate:
    """The service as an ASGI app, for a server, a test client, or another app to mount.

    It loads its model when it starts. A mounted app is not started by the app around it, which
    therefore enters ``lifespan()`` in its own.
    """
    from trivet.online.app import create_app

    return create_app(settings)


def load(
    model: str = DEFAULT_MODEL,
    model_version: str | None = None,
    models_dir: str | Path = DEFAULT_DIRECTORY,
    verify_key: str | Path | None = None,
    no_pickle: bool = False,
) -> LoadedModel:
    """A version of a model, the current one by default, once its golden rows are answered right.

    With ``verify_key``, the file of a public key, it must be signed by that key, and with
    ``no_pickle`` it must be compiled. Raises `StoreError` if there is none, and `ArtifactError` if
    it cannot be used here.
    """
    from trivet.model.predictor import Predictor

    store = ModelStore(models_dir, Trust.of(verify_key, no_pickle))
    artifact = store.artifact(model, model_version)
    return LoadedModel(artifact.manifest, Predictor.load(artifact))


@dataclass(frozen=True, repr=False)
class LoadedModel:
    """A model in memory. It stays the version that was loaded, whatever is promoted later."""

    manifest: Manifest
    _predictor: Predictor

    def __repr__(self) -> str:
        target = self.contract.target
        made = f"{self.manifest.name} {self.manifest.version}"
        return f"<LoadedModel {made}: {target.task} of {target.name}>"

    @property
    def contract(self) -> Contract:
        """What a row is: the features with their kinds, and the target."""
        return self.manifest.contract

    @overload
    def predict(self, rows: pd.DataFrame) -> pd.DataFrame: ...
    @overload
    def predict(self, rows: Mapping[Any, object]) -> dict[str, Any]: ...
    @overload
    def predict(self, rows: Sequence[Mapping[Any, object]]) -> list[dict[str, Any]]: ...
    def predict(self, rows: Any) -> Any:
        """The predictions for the rows of a frame, for one record, or for a list of records.

        A frame is read as a table of a batch, and answered by a frame with the same index and the
        columns ``prediction`` and a classifier's ``probability_LABEL`` per label. A record is
        read and answered as by POST /predict. Raises `RecordsRejected` with the faults, whose
        ``row`` counts from 0, and `TableError` for a frame without a column that is needed.
        """
        if "pandas" in sys.modules and isinstance(rows, sys.modules["pandas"].DataFrame):
            return self._predict_frame(rows)
        if isinstance(rows, Mapping):
            return self.predict([rows])[0]
        if not isinstance(rows, list | tuple):
            kind = type(rows).__name__
            raise TableError(
                f"can't predict a {kind}: give a DataFrame, a record as a dict, or a list of "
                "records; one row of a DataFrame is frame.iloc[[0]]"
            )
        kinds = {column.name: kind_of_cells(column) for column in self.contract.columns}
        predictions = self._predictor.predict_records(_json_record(row, kinds) for row in rows)
        return predictions.records(self.contract)

    def _predict_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        predictions = self._predictor.predict(_encode_frame(frame, self.contract))
        target, shares = self.contract.target, predictions.probabilities
        columns = [predictions.values, *([] if shares is None else shares.T)]
        kind = type(target.labels[0]) if target.labels else float
        answers = dict(zip(target.answer_names, columns, strict=True))
        return pd.DataFrame(answers, index=frame.index).astype({"prediction": kind})


def _encode_frame(frame: pd.DataFrame, contract: Contract) -> Rows:
    """The features of a frame, (rows x features); raises `TableError` and `RecordsRejected`."""
    import numpy as np

    from trivet.rows.columns import encode_columns, require_features, unfit_cells

    names = [str(name) for name in frame.columns]
    require_features(names, contract, "the frame")
    if twice := [name for name in contract.feature_names if names.count(name) > 1]:
        raise TableError(f"the frame has several columns {twice[0]!r}; keep one of them")
    series = {str(name): values for name, values in frame.items()}
    kinds = {
        column.name: kind_of_cells(column) for column in contract.columns if column.name in series
    }
    cells = {name: _cells(series[name], kind) for name, kind in kinds.items()}
    rows = encode_columns(cells, contract, len(frame))
    unfit = np.column_stack([*map(unfit_cells, rows.T, contract.columns)])
    faults = []
    for row, at in np.argwhere(unfit)[:FAULTS_LISTED].tolist():
        column = contract.columns[at]
        code = "missing" if np.isnan(rows[row, at]) else "type"
        if _table_value(series[column.name].iloc[row], kind_of_cells(column)) in (
            math.inf,
            -math.inf,
        ):
            code = "not_finite"
        faults.append(Fault(row=row, field=column.name, code=code, expected=expected_of(column)))
    if faults:
        raise RecordsRejected(faults)
    return rows


def _cells(values: pd.Series[Any], kind: Kind) -> Cells:
    """A column of a frame as an Arrow array, or one by one if that cannot hold the values."""
    import pyarrow as pa

    with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
        array = pa.array(values, from_pandas=True)
        if not (pa.types.is_nested(array.type) or isinstance(array.type, pa.BaseExtensionType)):
            return array
    return [_table_value(value, kind) for value in values]


def _table_value(value: object, kind: Kind) -> object:
    """A value of a table as JSON would hold it; text may stand for a number or a boolean."""
    return as_json_value(_plain(value), kind)


def _json_record(record: object, kinds: Mapping[str, Kind]) -> object:
    """A record with the values of NumPy, pandas and datetime as JSON would hold them."""
    if not isinstance(record, Mapping):
        return record
    values = {str(name): _plain(value) for name, value in record.items()}
    return {
        name: value if isinstance(value, str) else as_json_value(value, kinds.get(name, "number"))
        for name, value in values.items()
    }


def _plain(value: Any) -> object:
    """A value of NumPy as one of Python, and None for what pandas calls missing."""
    if type(value) in (str, int, float, bool):  # most are
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    missing = [getattr(sys.modules.get("pandas"), name, None) for name in ("NA", "NaT")]
    return None if any(value is each for each in missing) else value
