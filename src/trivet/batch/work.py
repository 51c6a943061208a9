"""One part predicted: its shard of the output, its rejected rows, and a result that seals both."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from trivet.batch.folder import Folder, writing_to
from trivet.batch.parts import Part
from trivet.batch.predictions import prediction_columns
from trivet.batch.shards import ShardFormat, shard_writer
from trivet.batch.tally import PartResult, Tally
from trivet.errors import RecordsRejected, TableError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictions, Predictor
from trivet.rows import readers
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import encode_columns, unfit_cells
from trivet.rows.contract import Contract
from trivet.rows.readers.table import Chunk, Place, Wanted, only
from trivet.rows.rejects import Reject, rejected_csv
from trivet.rows.values import EXPECTED


@dataclass(frozen=True)
class SealedModel:
    """A model for workers: where it is, or its files by name for workers that can't see that."""

    path: Path
    version: str
    contents: Mapping[str, bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Job:
    """What is done to each part; ``shards`` is where its predictions go, ``staging`` the rest."""

    model: SealedModel
    wanted: Wanted
    schema: pa.Schema
    shard: ShardFormat
    delimiter: str
    shards: Folder
    staging: Folder
    output_name: str


def predict_part(job: Job, part: Part) -> PartResult:
    """Predict a part, unless it is done already; raises `TrivetError`."""
    if result := finished(job, part.number):
        return result
    if not job.staging.names():
        raise TableError(
            f"{job.staging.address}: can't be seen by a worker; give all of them the same folders "
            "at the same paths, or use addresses such as s3://"
        )
    predictor = load(job.model)
    tally = Tally(predictor.contract)
    shard, rejected = shard_name(job, part.number), rejected_name(part.number)
    with writing_to(job.output_name):
        with ExitStack() as stack:
            stream = stack.enter_context(job.shards.writing(shard))
            writer = stack.enter_context(shard_writer(stream, job.shard, job.schema, job.delimiter))
            aside: BinaryIO | None = None
            for chunk in readers.read(part.file, part.span, job.wanted):
                tally.rows += chunk.rows + len(chunk.rejects)
                tally.late |= chunk.late
                good, unfit = _predict_chunk(predictor, chunk)
                if rejects := sorted([*chunk.rejects, *unfit], key=lambda each: each.line):
                    aside = aside or stack.enter_context(job.staging.writing(rejected))
                    aside.write(rejected_csv(part.file.source.name, rejects))
                    tally.reject(rejects)
                added = prediction_columns(good.predictions, job.model.version, job.schema)
                writer.write(pa.table([*good.carried.columns, *added], schema=job.schema))
                tally.add(good.rows, good.predictions)
        size = job.staging.size(rejected) if aside else 0
        result = tally.result(part, job.shards.size(shard), size)
        with job.staging.writing(result_name(part.number)) as stream:
            stream.write(result.model_dump_json().encode())
    return result


def finished(job: Job, number: int) -> PartResult | None:
    """The result of a part that is done, with its files as large as they were; else None."""
    try:
        result = PartResult.model_validate_json(job.staging.read(result_name(number)) or b"")
    except ValidationError:
        return None
    whole = job.shards.size(shard_name(job, number)) == result.shard_bytes and (
        not result.rejected_bytes
        or job.staging.size(rejected_name(number)) == result.rejected_bytes
    )
    return result.model_copy(update={"resumed": True}) if whole else None


def shard_name(job: Job, number: int) -> str:
    """The file of a part's predictions."""
    return f"part-{number:05}.{job.shard.split()[0]}"


def rejected_name(number: int) -> str:
    """The file of a part's rejected rows."""
    return f"part-{number:05}.rejected"


def result_name(number: int) -> str:
    """The file of a part's result."""
    return f"part-{number:05}.json"


@lru_cache(1)
def load(model: SealedModel) -> Predictor:
    """The model, verified, once a process."""
    if model.contents is None:
        return Predictor.load(Artifact.open(model.path))
    with tempfile.TemporaryDirectory() as folder:
        for name, content in model.contents.items():
            Path(folder, name).write_bytes(content)
        return Predictor.load(Artifact.open(Path(folder)))


@dataclass(frozen=True)
class _Predicted:
    """The good rows of a chunk, encoded, (rows x features), what is carried, and the answers."""

    rows: Rows
    carried: pa.Table
    predictions: Predictions


def _predict_chunk(predictor: Predictor, chunk: Chunk) -> tuple[_Predicted, list[Reject]]:
    """The good rows of a chunk with their predictions, and the others as rejects."""
    rows = encode_columns(chunk.cells, predictor.contract, chunk.rows)
    good, rejects = _sort_out(rows, chunk.place, predictor.contract)
    carried, place = only(chunk.carried, chunk.place, good)
    rows = rows if good.all() else rows[good]
    while True:
        try:
            return _Predicted(rows, carried, predictor.predict(rows)), rejects
        except RecordsRejected as error:  # values so far out that there is no finite answer
            good = np.ones(len(rows), dtype=np.bool_)
            for fault in error.faults:  # not all, where there are many
                good[fault.row] = False
                rejects.append(_reject(place, fault.row or 0, "", f"not {fault.expected}"))
            carried, place = only(carried, place, good)
            rows = rows[good]


def _sort_out(rows: Rows, place: Place, contract: Contract) -> tuple[Mask, list[Reject]]:
    """Which rows keep the contract, and the others with the first column that breaks it."""
    good = np.ones(len(rows), dtype=np.bool_)
    rejects = []
    for numbers, column in zip(rows.T, contract.columns, strict=True):
        for row in np.flatnonzero(unfit_cells(numbers, column) & good).tolist():
            reason = "missing" if np.isnan(numbers[row]) else f"not {EXPECTED[column.kind]}"
            rejects.append(_reject(place, row, column.name, reason))
            good[row] = False
    return good, rejects


def _reject(place: Place, row: int, column: str, reason: str) -> Reject:
    line, raw = place(row)
    return Reject(line, column, reason, raw)
