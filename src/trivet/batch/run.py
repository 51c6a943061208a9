"""Batch inference at any size: every row is either predicted or rejected.

The input is cut into parts. Each is predicted on its own, in one of several processes, into a shard
of the output. The shards are joined in order, as they are done, in a staging folder next to the
output; when all are, one rename publishes it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from uuid import uuid4

from trivet.batch.fan_out import fan_out
from trivet.batch.folder import Folder, writing_to
from trivet.batch.input import absent_features, carried_columns
from trivet.batch.output import Output
from trivet.batch.parts import parts_of, sizes, workers_for
from trivet.batch.predictions import output_schema
from trivet.batch.publish import REJECTED, join_shards, publish, publish_rejected, restore
from trivet.batch.settings import BatchSettings
from trivet.batch.staging import SHARDS, SPOOL, Plan, begin, staging_for
from trivet.batch.summary import Summary, summarise
from trivet.batch.tally import PartResult
from trivet.batch.work import Job, SealedModel
from trivet.cpus import worker_count
from trivet.errors import BatchError, StoppedError, TableError
from trivet.files import canonical
from trivet.model.artifact import MANIFEST, Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.model.trust import SIGNATURE
from trivet.rows import readers
from trivet.rows.readers.table import TableFile, Wanted
from trivet.rows.rejects import too_many
from trivet.rows.sources import STANDARD, find_sources
from trivet.rows.values import kind_of_cells

#: Called with the rows and bytes done so far, and the bytes in all.
Watch = Callable[[int, int, int], object]


def batch_predict(settings: BatchSettings, watch: Watch = lambda *_: None) -> Summary:
    """Predict every row of ``input``; ``output`` appears whole or not at all.

    The output has the columns carried along, then ``prediction``, a classifier's
    ``probability_LABEL`` per label, and ``model_version``. Rejected rows go to
    ``OUTPUT.rejected.csv``, the summary to ``OUTPUT.summary.json``. ``watch`` is called after each
    part, without what a previous run has done. Raises `TrivetError`, also for a KeyboardInterrupt.
    """
    store = ModelStore(settings.models_dir, settings.trust)
    artifact = store.artifact(settings.model, settings.model_version)
    Predictor.load(artifact)  # proven here, before any work starts
    try:
        if settings.output == STANDARD:
            return _run_to_stdout(settings, artifact, watch)
        return _run(settings, Output.of(str(settings.output)), artifact, watch)
    except KeyboardInterrupt:
        raise StoppedError(
            f"{settings.output}: stopped before all was predicted, so it is not written; "
            "continue with --resume"
        ) from None


def _run_to_stdout(settings: BatchSettings, artifact: Artifact, watch: Watch) -> Summary:
    """Write a temporary file, then copy it; rejected rows go to the working directory."""
    if sys.stdout is None:
        raise TableError("standard output: is closed; name a file")
    with tempfile.TemporaryDirectory() as folder:
        output = replace(Output.of(f"{folder}/stdout.csv"), name="stdout")
        try:
            summary = _run(settings, output, artifact, watch)
        finally:
            rejected = Path(folder, f"stdout.csv{REJECTED}")
            with writing_to(f"stdout{REJECTED}"):
                if rejected.exists():
                    shutil.copy(rejected, Path.cwd() / f"stdout{REJECTED}")
        with writing_to("standard output"), Path(output.address).open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 2**20)
            sys.stdout.buffer.flush()
        return summary


def _run(settings: BatchSettings, output: Output, artifact: Artifact, watch: Watch) -> Summary:
    with staging_for(output.address, output.name) as staging:
        restore(staging, output)
        inputs = _inputs(settings, output, Path(staging.path(SPOOL)))
        absent = absent_features(inputs, artifact.manifest.contract)
        job = _job(settings, output, artifact, inputs, staging)
        with writing_to(output.name):
            begin(staging, _plan(settings, artifact, inputs, job), settings.resume)
            job.shards.create()
        started = time.monotonic()
        total = sum(each.source.size for each in inputs)
        workers = workers_for(inputs, worker_count(settings.workers))
        results = fan_out(job, lambda: parts_of(inputs), workers, settings.cluster)
        with closing(results):
            done = join_shards(_watched(results, total, watch), job, settings.limit)
        for each in inputs:
            each.source.check_unchanged()
        seconds = time.monotonic() - started
        summary = summarise(done, artifact.manifest, seconds, absent, settings.columns is None)
        with writing_to(output.name):
            publish_rejected(done, job)
            _check(summary, settings, output)
            publish(summary, job)
        return summary


def _inputs(settings: BatchSettings, output: Output, spool: Path) -> list[TableFile]:
    sources = find_sources(str(settings.input), spool)
    for source in sources:
        if f"{canonical(source.address)}/".startswith(f"{output.address}/"):
            raise TableError(f"{output.name}: is the input too; write to another file")
    if settings.input != STANDARD:
        read = canonical(str(settings.input))
        if output.address.startswith(f"{read}/") or PurePosixPath(output.address).match(read):
            raise TableError(
                f"{output.name}: is inside the input {settings.input}, so the next run would "
                "read it; write to another place"
            )
    return [readers.columns(source, settings.delimiter) for source in sources]


def _job(
    settings: BatchSettings,
    output: Output,
    artifact: Artifact,
    inputs: Sequence[TableFile],
    staging: Folder,
) -> Job:
    contract = artifact.manifest.contract
    carried = carried_columns(inputs, contract, settings.columns, output.format == "parquet")
    return Job(
        run=uuid4().hex,
        model=_sealed(settings, artifact),
        wanted=Wanted(
            {column.name: kind_of_cells(column) for column in contract.columns},
            carried,
            chunk_rows=settings.chunk_rows,
        ),
        schema=output_schema(contract, carried, output.format),
        output=output,
        delimiter=settings.delimiter or ",",
        shards=Folder(f"{staging.address}/{SHARDS}"),
        staging=staging,
    )


def _sealed(settings: BatchSettings, artifact: Artifact) -> SealedModel:
    contents = None
    if settings.cluster is not None:  # its workers cannot reach the store
        contents = artifact.verify() | {MANIFEST: artifact.content}
        if settings.trust.key:
            contents[SIGNATURE] = (artifact.path / SIGNATURE).read_bytes()
    made_as = artifact.manifest.name, artifact.manifest.version
    return SealedModel(Path(settings.models_dir).resolve(), *made_as, settings.trust, contents)


def _plan(
    settings: BatchSettings, artifact: Artifact, inputs: Sequence[TableFile], job: Job
) -> Plan:
    return Plan(
        model=f"{artifact.manifest.name} {artifact.manifest.version}",
        inputs=tuple((each.source.address, each.source.size, each.source.stamp) for each in inputs),
        options={
            "columns": job.wanted.carried.names,
            "delimiter": settings.delimiter,
            "chunk-rows": settings.chunk_rows,
            "shards": job.output.shard,
            "seal": artifact.manifest.seal,
            "sizes": [*sizes()],
        },
    )


def _watched(results: Iterable[PartResult], total: int, watch: Watch) -> Iterator[PartResult]:
    rows = done = 0
    watch(rows, done, total)
    for result in results:
        if result.resumed:
            total -= result.weight
        else:
            rows, done = rows + result.rows, done + result.weight
        watch(rows, done, total)
        yield result


def _check(summary: Summary, settings: BatchSettings, output: Output) -> None:
    """Raise `BatchError` if a row was lost, `TooManyRejected` if too many were rejected."""
    if summary.rows != summary.predicted + summary.rejected:
        raise BatchError(
            f"{summary.rows:,} rows were read, but {summary.predicted:,} predicted and "
            f"{summary.rejected:,} rejected, so nothing is written: this is a defect of Trivet"
        )
    if not settings.limit.allows(summary.rejected, summary.rows):
        raise too_many(
            summary.rejected_by_reason,
            summary.rows,
            f" and continue with --resume; {output.name} was not written; the rows are in "
            f"{output.name}{REJECTED}",
        )
