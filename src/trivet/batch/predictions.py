"""The columns of predictions: those that are carried, the answers, and the model's version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from trivet.errors import TableError
from trivet.model.predictor import Predictions
from trivet.rows.contract import Contract


def output_schema(contract: Contract, carried: pa.Schema) -> pa.Schema:
    """The columns of predictions: those carried along, the answers, and the model's version.

    Raises `TableError` where two would have the same name.
    """
    labels, answers = contract.target.labels, contract.target.answer_names
    kinds = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
    kind = kinds[type(labels[0])] if labels else pa.float64()
    added = [
        pa.field(answers[0], kind),
        *(pa.field(name, pa.float64()) for name in answers[1:]),
        pa.field("model_version", pa.string()),
    ]
    for field in added:
        if field.name in carried.names:
            raise TableError(
                f"column {field.name!r} would appear twice in the output; rename it, or leave it "
                "out with --columns"
            )
    return pa.schema([*carried, *added])


def require_plain(carried: pa.Schema) -> None:
    """Raise `TableError` for a column that cells of a CSV can't hold."""
    for column in carried:
        if pa.types.is_nested(column.type):
            raise TableError(
                f"column {column.name!r} holds {column.type}, which a CSV can't; write Parquet, or "
                "leave it out with --columns"
            )


def prediction_columns(predictions: Predictions, version: str, schema: pa.Schema) -> list[Any]:
    """The columns that are added to those carried along, as `output_schema` lists them."""
    count = len(predictions.values)
    shares = predictions.probabilities
    added = [] if shares is None else [pa.array(share) for share in shares.T]
    kind = schema.field("prediction").type
    versions = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [version])
    return [pa.array(predictions.values, kind), *added, versions.cast(pa.string())]
