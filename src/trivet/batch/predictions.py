"""The columns of the output: those carried along, the predictions, and the model's version."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa

from trivet.errors import TableError
from trivet.model.predictor import Predictions
from trivet.rows.contract import Contract


def output_schema(
    contract: Contract, carried: pa.Schema, file_format: Literal["csv", "parquet"]
) -> pa.Schema:
    """The columns of the output, in order.

    Raises `TableError` if two have the same name, or if a CSV cannot hold one.
    """
    labels, answers = contract.target.labels, contract.target.answer_names
    kinds = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
    kind = kinds[type(labels[0])] if labels else pa.float64()
    added = [
        pa.field(answers[0], kind),
        *(pa.field(name, pa.float64()) for name in answers[1:]),
        pa.field("model_version", pa.string()),
    ]
    for field in carried:
        if file_format == "csv" and pa.types.is_nested(field.type):
            raise TableError(
                f"column {field.name!r} holds {field.type}, which a CSV can't; write Parquet, or "
                "leave it out with --columns"
            )
    for field in added:
        if field.name in carried.names:
            raise TableError(
                f"column {field.name!r} would appear twice in the output; rename it, or leave it "
                "out with --columns"
            )
    return pa.schema([*carried, *added])


def prediction_columns(predictions: Predictions, version: str, schema: pa.Schema) -> list[Any]:
    """The columns that `output_schema` adds to those carried along."""
    values = pa.array(predictions.values, schema.field("prediction").type)
    shares = predictions.probabilities
    probabilities = [] if shares is None else [pa.array(share) for share in shares.T]
    return [values, *probabilities, pa.repeat(version, len(values))]
