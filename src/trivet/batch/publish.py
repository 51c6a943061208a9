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

#: What stands beside the output, by what is added to its name.
REJECTED, SUMMARY = ".rejected.csv", ".summary.json"
#: In the folder of the run: the output before it is shown, and the one from before.
JOINED, REPLACED = "joined", "replaced"


def restore(staging: Folder, output: Output) -> None:
    """Put back a directory that a run has moved away: it was killed before it put its own there."""
    beside, name = output.beside("")
    if REPLACED in staging.names() and name not in beside.names():
        with writing_to(output.name):
            staging.move(REPLACED, beside, name)


def join_shards(
    results: Iterable[PartResult], job: Job, output: Output, allowed: MaxRejected
) -> list[PartResult]:
    """Put the shards of parts together, in order, as they are done; returns their results.

    It stops where more rows are rejected than a number that is ``allowed``.
    """
    done: list[PartResult] = []
    with writing_to(output.name), ExitStack() as stack:  # also what is left to write at its end
        if not output.directory:
            stream = stack.enter_context(job.staging.writing(JOINED))
            join = stack.enter_context(joining(stream, output.format, job.schema, job.delimiter))
        for result in results:
            done.append(result)
            if not output.directory:
                with job.shards.reading(shard_name(job, result.number)) as shard:
                    join(shard)
            rejected = sum(each.rows - each.predicted for each in done)
            if allowed.stops_at(rejected):
                break
    return done


def publish_rejected(done: Sequence[PartResult], job: Job, output: Output) -> None:
    """Show the rejected rows of all parts, or that there are none."""
    beside, name = output.beside(REJECTED)
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


def publish(summary: Summary, job: Job, output: Output) -> None:
    """Show the output, by one rename, and then the summary; nothing else is left."""
    beside, name = output.beside("")
    summary_name = name + SUMMARY
    beside.remove(summary_name)
    if output.directory:
        for leftover in job.shards.names():
            if leftover.startswith("."):  # half a shard: its process was killed
                job.shards.remove(leftover)
        if name in beside.names():  # a folder can't be replaced by a rename, only moved away
            beside.move(name, job.staging, REPLACED)
        job.staging.move(SHARDS, beside, name)
    else:
        job.staging.move(JOINED, beside, name)
    with beside.writing(summary_name) as stream:
        stream.write(summary.model_dump_json(indent=1).encode() + b"\n")
    job.staging.remove()
