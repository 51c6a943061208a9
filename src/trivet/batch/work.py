"""One part predicted: its shard of the output, its rejected rows, and its result."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from trivet.batch.folder import Folder, writing_to
from trivet.batch.output import Output
from trivet.batch.parts import Part
from trivet.batch.predictions import Predicted, output_table
from trivet.batch.shards import shard_writer
from trivet.batch.tally import PartResult, Tally
from trivet.errors import RecordsRejected, TableError
from trivet.model.predictor import Predictions, Predictor
from trivet.model.store import ModelStore
from trivet.model.trust import Trust
from trivet.rows import readers
from trivet.rows.arrays import Mask, Rows
from trivet.rows.columns import encode_columns, unfit_cells
from trivet.rows.contract import Contract
from trivet.rows.readers.table import Chunk, Place, Wanted
from trivet.rows.rejects import Reject, rejected_csv
from trivet.rows.values import expected_of


@dataclass(frozen=True)
class SealedModel:
    """A model for workers, what is asked of it, and its files for workers that can't reach it."""

    models_dir: Path
    name: str
    version: str
    trust: Trust
    contents: Mapping[str, bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Job:
    """What is done to each part. Predictions go to ``shards``, all else to ``staging``.

    ``run`` tells the parts of this run from those of a previous one.
    """

    run: str
    model: SealedModel
    wanted: Wanted
    schema: pa.Schema
    output: Output
    delimiter: str
    shards: Folder
    staging: Folder


def predict_part(job: Job, part: Part) -> PartResult:
    """Predict a part, unless that has been done; raises `TrivetError`."""
    if result := _finished(job, part.number):
        return result
    if not job.staging.names():
        raise TableError(
            f"{job.staging.address}: can't be seen by a worker; give all of them the same folders "
            "at the same paths, or use addresses such as s3://"
        )
    predictor = _load(job.model)
    tally = Tally(predictor.contract)
    shard, rejected = shard_name(job, part.number), rejected_name(part.number)
    with writing_to(job.output.name):
        with ExitStack() as stack:
            stream = stack.enter_context(job.shards.writing(shard))
            writer = stack.enter_context(
                shard_writer(stream, job.output.shard, job.schema, job.delimiter)
            )
            aside: BinaryIO | None = None
            for chunk in readers.read(part.file, part.span, job.wanted):
                predicted = _predict_chunk(predictor, chunk)
                tally.add(chunk, predicted)
                if predicted.rejects:
                    aside = aside or stack.enter_context(job.staging.writing(rejected))
                    aside.write(rejected_csv(part.file.source.name, predicted.rejects))
                writer.write(output_table(predicted, job.model.version, job.schema))
        size = job.staging.size(rejected) if aside else 0
        result = tally.result(part, job.run, job.shards.size(shard), size)
        with job.staging.writing(_result_name(part.number)) as stream:
            stream.write(result.model_dump_json().encode())
    return result


def shard_name(job: Job, number: int) -> str:
    """The file with a part's predictions."""
    return f"part-{number:05}.{job.output.shard.split()[0]}"


def rejected_name(number: int) -> str:
    """The file with a part's rejected rows."""
    return f"part-{number:05}.rejected"


def _result_name(number: int) -> str:
    return f"part-{number:05}.json"


def _finished(job: Job, number: int) -> PartResult | None:
    """The result of a part that was done before, if its files still have the same sizes."""
    try:
        result = PartResult.model_validate_json(job.staging.read(_result_name(number)) or b"")
    except ValidationError:
        return None
    whole = job.shards.size(shard_name(job, number)) == result.shard_bytes and (
        not result.rejected_bytes
        or job.staging.size(rejected_name(number)) == result.rejected_bytes
    )
    return result.model_copy(update={"resumed": result.run != job.run}) if whole else None


@lru_cache(1)
def _load(model: SealedModel) -> Predictor:
    """The model, verified, once per process."""
    if model.contents is None:
        store = ModelStore(model.models_dir, model.trust)
        return Predictor.load(store.artifact(model.name, model.version))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, model.name, model.version)
        path.mkdir(parents=True)
        for name, content in model.contents.items():
            (path / name).write_bytes(content)
        return _load(replace(model, models_dir=Path(folder), contents=None))


def _predict_chunk(predictor: Predictor, chunk: Chunk) -> Predicted:
    every = encode_columns(chunk.cells, predictor.contract, chunk.rows)
    good, unfit = _sort_out(every, chunk.place, predictor.contract)
    rejects = [*chunk.rejects, *unfit]
    predictions: Predictions | None = None
    while predictions is None:
        rows = every if good.all() else every[good]
        try:
            predictions = predictor.predict(rows)
        except RecordsRejected as error:  # values so extreme that there is no finite answer
            positions = np.flatnonzero(good).tolist()
            for fault in error.faults:  # not all of them, if there are many
                row = positions[fault.row or 0]
                rejects.append(_reject(chunk.place, row, "", f"not {fault.expected}"))
                good[row] = False
    carried = chunk.carried.columns
    if not good.all():
        carried = [column.filter(pa.array(good)) for column in carried]
    return Predicted(rows, predictions, carried, sorted(rejects, key=lambda each: each.line))


def _sort_out(rows: Rows, place: Place, contract: Contract) -> tuple[Mask, list[Reject]]:
    """Which rows keep the contract, and the others with the first column that breaks it."""
    good = np.ones(len(rows), dtype=np.bool_)
    rejects = []
    for numbers, column in zip(rows.T, contract.columns, strict=True):
        for row in np.flatnonzero(unfit_cells(numbers, column) & good).tolist():
            reason = "missing" if np.isnan(numbers[row]) else f"not {expected_of(column)}"
            rejects.append(_reject(place, row, column.name, reason))
            good[row] = False
    return good, rejects


def _reject(place: Place, row: int, column: str, reason: str) -> Reject:
    line, raw = place(row)
    return Reject(line, column, reason, raw)
