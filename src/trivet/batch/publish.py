"""From the shards of all parts to the output: joined in order, published by one rename."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from trivet.batch.folder import Folder, writing_to
from trivet.batch.output import Output
from trivet.batch.shards import joining
from trivet.batch.staging import SHARDS
from trivet.batch.summary import Summary
from trivet.batch.tally import PartResult
from trivet.batch.work import Job, rejected_name, shard_name
from trivet.rows.rejects import HEADER, MaxRejected

#: Endings of the files next to the output.
REJECTED, SUMMARY = ".rejected.csv", ".summary.json"
#: In the staging folder: the output before it is published, and the previous one, moved away.
JOINED, REPLACED = "joined", "replaced"


def restore(staging: Folder, output: Output) -> None:
    """Put back the previous output, if a run was killed after it had moved that away."""
    beside, name = output.beside("")
    if REPLACED in staging.names() and name not in beside.names():
        with writing_to(output.name):
            staging.move(REPLACED, beside, name)


def join_shards(results: Iterable[PartResult], job: Job, allowed: MaxRejected) -> list[PartResult]:
    """Join the shards of parts, in order, as they are done; returns the parts' results.

    Stops when more rows are rejected than the number that is ``allowed``.
    """
    done: list[PartResult] = []
    one_file = not job.output.directory
    with writing_to(job.output.name), ExitStack() as stack:
        if one_file:
            stream = stack.enter_context(job.staging.writing(JOINED))
            join = stack.enter_context(
                joining(stream, job.output.format, job.schema, job.delimiter)
            )
        for result in results:
            done.append(result)
            if one_file:
                with job.shards.reading(shard_name(job, result.number)) as shard:
                    join(shard)
            if allowed.stops_at(sum(each.rows - each.predicted for each in done)):
                break
    return done


def publish_rejected(done: Sequence[PartResult], job: Job) -> None:
    """Publish the rejected rows of all parts; if there are none, remove those of a previous run."""
    beside, name = job.output.beside(REJECTED)
    beside.remove(name)
    parts = [result.number for result in done if result.rejected_bytes]
    if not parts:
        return
    with job.staging.writing(name) as stream:
        stream.write(HEADER)
        for number in parts:
            with job.staging.reading(rejected_name(number)) as rows:
                shutil.copyfileobj(rows, stream)
    job.staging.move(name, beside, name)


def publish(summary: Summary, job: Job) -> None:
    """Publish the output by one rename, then the summary, and remove the staging folder."""
    beside, name = job.output.beside("")
    with job.staging.writing(SUMMARY) as stream:
        stream.write(summary.model_dump_json(indent=1).encode() + b"\n")
    beside.remove(name + SUMMARY)
    if job.output.directory:
        for leftover in job.shards.names():
            if leftover.startswith("."):  # half a shard: its process was killed
                job.shards.remove(leftover)
        if name in beside.names():  # no rename can replace a directory
            beside.move(name, job.staging, REPLACED)
    job.staging.move(SHARDS if job.output.directory else JOINED, beside, name)
    job.staging.move(SUMMARY, beside, name + SUMMARY)
    job.staging.remove()
