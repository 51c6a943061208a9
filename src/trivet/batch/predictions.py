"""Predicted rows, and the columns of the output: carried, predicted, and the model's version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from trivet.errors import TableError
from trivet.model.predictor import Predictions
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract
from trivet.rows.rejects import Reject


@dataclass(frozen=True)
class Predicted:
    """A chunk's good rows, (rows x features), with their predictions and carried columns.

    ``rejects`` are all other rows, by line.
    """

    rows: Rows
    predictions: Predictions
    carried: list[pa.ChunkedArray]
    rejects: list[Reject]


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


def output_table(predicted: Predicted, version: str, schema: pa.Schema) -> pa.Table:
    """Predicted rows as `output_schema` has them."""
    values = pa.array(predicted.predictions.values, schema.field("prediction").type)
    shares = predicted.predictions.probabilities
    probabilities = [] if shares is None else [pa.array(share) for share in shares.T]
    versions = pa.repeat(version, len(values))
    return pa.table([*predicted.carried, values, *probabilities, versions], schema=schema)
