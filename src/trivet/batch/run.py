"""Batch inference at any size: rows in are rows predicted and rows rejected.

The input is cut into parts. Each is predicted by itself, in one of several processes, into a shard
of the output; the shards become the output in order, as they are done. All stands in a folder
beside the output until it is whole.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from trivet.artifact import MANIFEST, Artifact
from trivet.batch.chunks import Reader
from trivet.batch.fan_out import fan_out
from trivet.batch.folder import Folder, writing_to
from trivet.batch.outputs import REJECTED_COLUMNS, Output, csv_header, joining, output_schema
from trivet.batch.parts import InputFile, open_input, parts_of, workers_for
from trivet.batch.settings import BatchSettings, MaxRejected
from trivet.batch.sources import STANDARD, find_sources
from trivet.batch.staging import SHARDS, SPOOL, Plan, begin, staging_for
from trivet.batch.tally import PartReport, Summary, summarise
from trivet.batch.work import Job, SealedModel, rejected_name, shard_name
from trivet.contract import Contract
from trivet.errors import BatchError, StoppedError, TableError, TooManyRejected
from trivet.predictor import Predictor
from trivet.store import ModelStore
from trivet.tables import absent_columns, require_columns

JOINED, REPLACED = "joined", "replaced"
REJECTED, SUMMARY = ".rejected.csv", ".summary.json"

Watch = Callable[[Iterable[PartReport], int], Iterable[PartReport]]


def batch_predict(settings: BatchSettings, watch: Watch = lambda reports, _: reports) -> Summary:
    """Predict every row of ``input``; ``output`` appears whole or not at all.

    The output holds the columns carried along, then ``prediction``, for a classifier
    ``probability_LABEL`` a label, and ``model_version``. Rejected rows go to
    ``OUTPUT.rejected.csv``, the summary to ``OUTPUT.summary.json``. ``watch`` is handed the reports
    of parts, and the bytes of all, and hands them on. Raises `TrivetError`, also for a
    KeyboardInterrupt.
    """
    artifact = ModelStore(settings.models_dir).artifact(settings.model, settings.model_version)
    Predictor.load(artifact)  # proven here before any work is begun
    try:
        if settings.output == STANDARD:
            return _run_to_stdout(settings, artifact, watch)
        return _run(settings, Output.of(settings.output), artifact, watch)
    except KeyboardInterrupt:
        raise StoppedError(
            f"{settings.output}: stopped before all was predicted, so it is not written; go on "
            "with --resume"
        ) from None


def _run_to_stdout(settings: BatchSettings, artifact: Artifact, watch: Watch) -> Summary:
    """As to a file, which is then copied; rejected rows stay in the working directory."""
    with tempfile.TemporaryDirectory() as folder:
        output = replace(Output.of(f"{folder}/stdout.csv"), name="stdout")
        try:
            summary = _run(settings, output, artifact, watch)
        finally:
            rejected = Path(folder, f"stdout.csv{REJECTED}")
            with writing_to(f"stdout{REJECTED}"):
                if rejected.exists():
                    shutil.copy(rejected, Path.cwd() / f"stdout{REJECTED}")
        with Path(output.address).open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 2**20)
        return summary


def _run(settings: BatchSettings, output: Output, artifact: Artifact, watch: Watch) -> Summary:
    with staging_for(output.address, output.name) as staging:
        inputs = _inputs(settings, output, Path(staging.path(SPOOL)))
        contract = artifact.manifest.contract
        absent = _absent(inputs, contract)
        carried = _carried(inputs, contract, settings.columns)
        schema = output_schema(contract, carried)
        plan = Plan(
            model=artifact.manifest.name,
            model_version=artifact.manifest.version,
            inputs=tuple((s.source.address, s.source.size, s.source.stamp) for s in inputs),
            options={
                "columns": carried.names,
                "delimiter": settings.delimiter,
                "chunk-rows": settings.chunk_rows,
                "shards": output.shard,
            },
        )
        with writing_to(output.name):
            begin(staging, plan, settings.resume)
        job = Job(
            model=_sealed(artifact, portable=settings.cluster is not None),
            reader=Reader(contract, carried, settings.chunk_rows),
            schema=schema,
            shard=output.shard,
            delimiter=settings.delimiter,
            shards=Folder(f"{staging.address}/{SHARDS}"),
            reports=staging,
            output_name=output.name,
        )
        started = time.monotonic()
        total = sum(each.source.size for each in inputs)
        workers = workers_for(inputs, settings.workers)
        reports = fan_out(job, lambda: parts_of(inputs), workers, settings.cluster)
        with closing(reports):
            done = _join(watch(reports, total), job, output, settings.max_rejected)
        for each in inputs:
            each.source.check_unchanged()
        summary = summarise(
            done,
            contract,
            model=artifact.manifest.name,
            version=artifact.manifest.version,
            seconds=time.monotonic() - started,
            absent=absent,
        )
        if summary.rows != summary.predicted + summary.rejected:
            raise BatchError(
                f"{summary.rows:,} rows were read, but {summary.predicted:,} predicted and "
                f"{summary.rejected:,} rejected, so nothing is written: this is a defect of Trivet"
            )
        with writing_to(output.name):
            _publish_rejected(done, job, output)
            if not settings.max_rejected.allows(summary.rejected, summary.rows):
                raise _too_many(summary, output)
            _publish(summary, job, output)
        return summary


def _inputs(settings: BatchSettings, output: Output, spool: Path) -> list[InputFile]:
    sources = find_sources(settings.input, spool)
    for source in sources:
        if source.address == output.address or source.address.startswith(f"{output.address}/"):
            raise TableError(f"{output.name}: is the input too; write to another file")
    return [open_input(source, settings.delimiter) for source in sources]


def _absent(inputs: Sequence[InputFile], contract: Contract) -> list[str]:
    """Features that no input has, or one has not."""
    names = [
        name
        for each in inputs
        for name in absent_columns(each.schema.names, contract, each.source.name)
    ]
    return list(dict.fromkeys(names))


def _carried(
    inputs: Sequence[InputFile], contract: Contract, columns: tuple[str, ...] | None
) -> pa.Schema:
    """The columns to carry along: of the first input, and the same in all others."""
    first = inputs[0]
    if columns is None:
        features = set(contract.feature_names)
        columns = tuple(name for name in first.schema.names if name not in features)
    for each in inputs:
        require_columns(each.schema.names, columns, each.source.name)
        for name in columns:
            if (kind := each.schema.field(name).type) != (wanted := first.schema.field(name).type):
                raise TableError(
                    f"{each.source.name}: column {name!r} is {kind}, but {wanted} in "
                    f"{first.source.name}; predict the two into outputs of their own"
                )
    return pa.schema([first.schema.field(name) for name in columns])


def _sealed(artifact: Artifact, portable: bool) -> SealedModel:
    contents = None
    if portable:  # for workers that don't see the store
        contents = artifact.verify() | {MANIFEST: (artifact.path / MANIFEST).read_bytes()}
    return SealedModel(artifact.path.resolve(), artifact.manifest.version, contents)


def _join(
    reports: Iterable[PartReport], job: Job, output: Output, allowed: MaxRejected
) -> list[PartReport]:
    """Put the shards of parts together, in order, as they are done; returns all reports.

    It stops where more rows are rejected than a number that is ``allowed``.
    """
    done: list[PartReport] = []
    with ExitStack() as stack:
        if not output.directory:
            with writing_to(output.name):
                stream = stack.enter_context(job.reports.writing(JOINED))
                join = stack.enter_context(joining(stream, output, job.schema, job.delimiter))
        for report in reports:
            done.append(report)
            if not output.directory:
                with (
                    writing_to(output.name),
                    job.shards.reading(shard_name(job, report.number)) as shard,
                ):
                    join(shard)
            rejected = sum(each.rows - each.predicted for each in done)
            if not (allowed.is_share or allowed.allows(rejected, 0)):
                break
    return done


def _publish_rejected(done: Sequence[PartReport], job: Job, output: Output) -> None:
    """Show the rejected rows of all parts, or that there are none."""
    beside, name = output.beside(REJECTED)
    beside.remove(name)
    parts = [report.number for report in done if report.rejected_bytes]
    if not parts:
        return
    with job.reports.writing(name) as stream:
        stream.write(csv_header(REJECTED_COLUMNS, ","))
        for number in parts:
            with job.reports.reading(rejected_name(number)) as rows:
                shutil.copyfileobj(rows, stream)
    job.reports.move(name, beside, name)


def _publish(summary: Summary, job: Job, output: Output) -> None:
    """Show the output, by one rename, and then the summary; nothing else is left."""
    beside, summary_name = output.beside(SUMMARY)
    beside.remove(summary_name)
    name = output.address.rpartition("/")[2]
    if output.directory:
        if name in beside.names():  # a folder can't be replaced by a rename, only moved away
            beside.move(name, job.reports, REPLACED)
        job.reports.move(SHARDS, beside, name)
    else:
        job.reports.move(JOINED, beside, name)
    with beside.writing(summary_name) as stream:
        stream.write(summary.model_dump_json(indent=1).encode() + b"\n")
    job.reports.remove()


def _too_many(summary: Summary, output: Output) -> TooManyRejected:
    reasons = ", ".join(f"{text} ({count:,})" for text, count in summary.rejected_by_reason.items())
    return TooManyRejected(
        f"{summary.rejected:,} of {summary.rows:,} rows are rejected, more than --max-rejected "
        f"allows: {reasons}; nothing was predicted into {output.name}; see "
        f"{output.name}{REJECTED}, correct the rows, or allow more and go on with --resume"
    )
