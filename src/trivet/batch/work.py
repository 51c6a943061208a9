"""One part predicted: its shard of the output, its rejected rows, and a report that seals both."""

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
from numpy.typing import NDArray
from pydantic import ValidationError

from trivet.batch.chunks import Chunk, Reader
from trivet.batch.folder import Folder, writing_to
from trivet.batch.outputs import ShardFormat, prediction_columns, rejected_csv, shard_writer
from trivet.batch.parts import Part
from trivet.batch.tally import PartReport, Tally
from trivet.errors import RecordsRejected, TableError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictions, Predictor
from trivet.rows.columns import unfit_cells
from trivet.rows.contract import Contract
from trivet.rows.text import Reject
from trivet.rows.values import EXPECTED


@dataclass(frozen=True)
class SealedModel:
    """A model for workers: where it is, or its files by name for workers that can't see that."""

    path: Path
    version: str
    contents: Mapping[str, bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Job:
    """What is done to each part; ``shards`` is where its predictions go, ``reports`` the rest."""

    model: SealedModel
    reader: Reader
    schema: pa.Schema
    shard: ShardFormat
    delimiter: str
    shards: Folder
    reports: Folder
    output_name: str


def predict_part(job: Job, part: Part) -> PartReport:
    """Predict a part, unless it is done already; raises `TrivetError`."""
    if report := finished(job, part.number):
        return report
    if not job.reports.names():
        raise TableError(
            f"{job.reports.address}: can't be seen by a worker; give all of them the same folders "
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
            for chunk in job.reader.chunks(part):
                tally.rows += len(chunk.rows) + len(chunk.rejects)
                good, predictions, unfit = _predict_chunk(predictor, chunk)
                if rejects := sorted([*chunk.rejects, *unfit], key=lambda each: each.line):
                    aside = aside or stack.enter_context(job.reports.writing(rejected))
                    aside.write(rejected_csv(part, rejects))
                    tally.reject(rejects)
                added = prediction_columns(predictions, job.model.version, job.schema)
                writer.write(pa.table([*good.carried.columns, *added], schema=job.schema))
                tally.add(good.rows, predictions)
        size = job.reports.size(rejected) if aside else 0
        report = tally.report(part, job.shards.size(shard), size)
        with job.reports.writing(report_name(part.number)) as stream:
            stream.write(report.model_dump_json().encode())
    return report


def finished(job: Job, number: int) -> PartReport | None:
    """The report of a part that is done, with its files as large as they were; else None."""
    try:
        report = PartReport.model_validate_json(job.reports.read(report_name(number)) or b"")
    except ValidationError:
        return None
    whole = job.shards.size(shard_name(job, number)) == report.shard_bytes and (
        not report.rejected_bytes
        or job.reports.size(rejected_name(number)) == report.rejected_bytes
    )
    return report.model_copy(update={"resumed": True}) if whole else None


def shard_name(job: Job, number: int) -> str:
    """The file of a part's predictions."""
    return f"part-{number:05}.{job.shard.split()[0]}"


def rejected_name(number: int) -> str:
    """The file of a part's rejected rows."""
    return f"part-{number:05}.rejected"


def report_name(number: int) -> str:
    """The file of a part's report."""
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


def _predict_chunk(predictor: Predictor, chunk: Chunk) -> tuple[Chunk, Predictions, list[Reject]]:
    """The good rows of a chunk, their predictions, and the others as rejects."""
    good, rejects = _sort_out(chunk, predictor.contract)
    chunk = chunk.only(good)
    while True:
        try:
            return chunk, predictor.predict(chunk.rows), rejects
        except RecordsRejected as error:  # values so far out that there is no finite answer
            good = np.ones(len(chunk.rows), dtype=np.bool_)
            for fault in error.faults:  # not all, where there are many
                good[fault.row] = False
                rejects.append(_reject(chunk, fault.row or 0, "", f"not {fault.expected}"))
            chunk = chunk.only(good)


def _sort_out(chunk: Chunk, contract: Contract) -> tuple[NDArray[np.bool_], list[Reject]]:
    """Which rows keep the contract, and the others with the first column that breaks it."""
    good = np.ones(len(chunk.rows), dtype=np.bool_)
    rejects = []
    for numbers, column in zip(chunk.rows.T, contract.columns, strict=True):
        for row in np.flatnonzero(unfit_cells(numbers, column) & good).tolist():
            reason = "missing" if np.isnan(numbers[row]) else f"not {EXPECTED[column.kind]}"
            rejects.append(_reject(chunk, row, column.name, reason))
            good[row] = False
    return good, rejects


def _reject(chunk: Chunk, row: int, column: str, reason: str) -> Reject:
    line, raw = chunk.place(row)
    return Reject(line, column, reason, raw)
