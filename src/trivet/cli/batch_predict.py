"""The command `trivet batch-predict`."""

from __future__ import annotations

import signal
from typing import Any

import click
from click.core import ParameterSource

from trivet.batch.settings import BatchSettings
from trivet.cli.options import (
    FORMATS,
    MAX_REJECTED,
    MODEL,
    MODEL_VERSION,
    MODELS_DIR,
    NO_PICKLE,
    VERIFY_KEY,
    WORKERS,
    Character,
    Names,
    defaults_from,
)
from trivet.cli.progress import Progress
from trivet.cpus import cpu_limit, limit_threads, worker_count


class BatchCommand(click.Command):
    """Keeps the output that trivet.toml names for the input that it names with it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options; another input needs another output, or it would replace that one."""
        rest = super().parse_args(ctx, args)
        meant, output = (ctx.default_map or {}).get("input"), ctx.get_parameter_source("output")
        if output is ParameterSource.DEFAULT_MAP and meant not in (None, ctx.params["input"]):
            raise click.UsageError(
                f"Missing option '--output': {ctx.params['output']} is for {meant}, as "
                f"{ctx.find_root().params['config']} says.",
                ctx,
            )
        return rest


@defaults_from(BatchSettings)
@click.command(cls=BatchCommand)
@click.option(
    "--input",
    metavar="PATH",
    required=True,
    help=f"A file, a directory, a glob, an address such as s3://..., or - for stdin. {FORMATS}",
)
@click.option(
    "--output",
    metavar="PATH",
    required=True,
    help="A .csv or .parquet file, DIRECTORY/ for one file per part, or - for stdout.",
)
@click.option(
    "--columns",
    metavar="NAME,...",
    type=Names(),
    help="The columns to copy to the output. By default, all that are not features.",
)
@click.option(
    "--delimiter",
    type=Character(),
    help="The character between the cells of a CSV, read or written. By default a comma, or for "
    "reading a .tsv a tab.",
)
@MAX_REJECTED
@click.option("--resume", is_flag=True, help="Continue a run that did not finish.")
@click.option(
    "--chunk-rows",
    metavar="ROWS",
    type=click.IntRange(1),
    help="Predict at most this many rows at a time. By default, it depends on their width.",
)
@WORKERS
@click.option("--cluster", metavar="ADDRESS", help="The Dask scheduler of a cluster to run on.")
@MODEL
@MODEL_VERSION
@MODELS_DIR
@VERIFY_KEY
@NO_PICKLE
def batch_predict(**options: Any) -> None:
    """Predict every row of one table, or of many."""
    limit_threads(cpu_limit())
    settings = BatchSettings(**options)
    if settings.cluster is None and worker_count(settings.workers) > 1:
        from trivet.batch.fork_server import start_fork_server

        start_fork_server(str(settings.input))  # it imports while this process does
    from trivet.batch.run import batch_predict
    from trivet.batch.summary import lines_of

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops a run as Ctrl-C does
    with Progress() as watch:
        summary = batch_predict(settings, watch)
    for line in lines_of(summary, str(settings.output)):
        click.echo(line, err=settings.output == "-")
