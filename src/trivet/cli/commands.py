"""The commands: they map options onto functions, nothing else.

Every option can be set in three ways: ``--port 80``, ``TRIVET_SERVE_PORT=80``, and ``port = 80``
under ``[serve]`` in trivet.toml. The command line wins over the environment, the environment over
the file, and the file over the default.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from trivet.batch.settings import BatchSettings
from trivet.cli.listing import describe
from trivet.cli.options import (
    FILE,
    FORMATS,
    MAX_REJECTED,
    MODEL,
    MODEL_VERSION,
    MODELS_DIR,
    WORKERS,
    Character,
    Names,
    defaults_from,
    limit,
    seconds,
)
from trivet.cli.progress import Progress
from trivet.cli.settings_file import (
    BatchCommand,
    Filter,
    TrainCommand,
    literal,
    load_defaults,
    pairs,
)
from trivet.cli.trouble import Trivet
from trivet.cli.version import print_version
from trivet.cpus import cpu_limit, limit_threads
from trivet.errors import TrivetError
from trivet.model.artifact import REPORT
from trivet.model.store import ModelStore
from trivet.online.settings import ListenSettings
from trivet.rows.contract import MISSING_WORDS, Form, Kind
from trivet.train.settings import TrainSettings

CONTEXT = {"auto_envvar_prefix": "TRIVET", "max_content_width": 100, "show_default": True}


@click.group(cls=Trivet, context_settings=CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Print the version and a digest of the code, and exit.",
)
@click.option("--config", type=FILE, default=Path("trivet.toml"), help="The settings file.")
@click.pass_context
def main(ctx: click.Context, config: Path) -> None:
    """Take a scikit-learn model to production: train it, predict in batches, serve it."""
    explicit = ctx.get_parameter_source("config") is not ParameterSource.DEFAULT
    ctx.default_map = load_defaults(config, main, required=explicit)


@defaults_from(TrainSettings)
@main.command(cls=TrainCommand)
@click.option(
    "--data",
    metavar="PATH",
    required=True,
    help="The table to train on. A file, a directory, a glob, an address such as s3://..., or - "
    f"for stdin. {FORMATS}",
)
@click.option(
    "--target",
    metavar="COLUMN",
    required=True,
    help="The column to predict. If given on the command line, [train] in trivet.toml is not used.",
)
@click.option(
    "--id",
    metavar="COLUMN",
    multiple=True,
    help="An identifier: copied to the predictions, never a feature. Repeatable.",
)
@click.option("--exclude", metavar="COLUMN", multiple=True, help="Leave out a column. Repeatable.")
@click.option(
    "--time-column",
    metavar="COLUMN",
    help="Hold out the latest rows by this column, instead of random ones.",
)
@click.option(
    "--group-column",
    metavar="COLUMN",
    help="Hold out whole groups of rows, such as all of a customer's, instead of random rows.",
)
@click.option(
    "--weight-column",
    metavar="COLUMN",
    help="A number from 0 that says how much a row counts in the fit, not in the metrics.",
)
@click.option(
    "--kind",
    metavar="COLUMN=KIND",
    multiple=True,
    help=f"The kind of a column: {', '.join(get_args(Kind))}. Repeatable.",
)
@click.option(
    "--form",
    metavar="COLUMN=FORM",
    multiple=True,
    help=f"How a column's text is written: {', '.join(get_args(Form))}. Repeatable.",
)
@click.option(
    "--nullable",
    metavar="COLUMN",
    multiple=True,
    help="A feature that may be missing even if it never is in this table. Repeatable.",
)
@click.option(
    "--na-value",
    metavar="TEXT",
    multiple=True,
    default=MISSING_WORDS,
    help="A text that means a missing value. Repeatable; replaces the default list. "
    'With "" alone, only an empty cell is missing, and NA is a label.',
)
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    help="The kind of prediction. By default, inferred from the target.",
)
@click.option(
    "--estimator",
    metavar="NAME",
    help="An estimator that the pipeline file names, or the import path of one, such as "
    "sklearn.ensemble.GradientBoostingClassifier. By default, the file decides.",
)
@click.option(
    "--features",
    metavar="NAME",
    help="How the pipeline file prepares the features. By default, as suits the estimator.",
)
@click.option(
    "--pipeline",
    type=FILE,
    help="A Python file whose build_pipeline builds the pipeline. By default, the package's own.",
)
@click.option(
    "--param",
    metavar="NAME=VALUE",
    multiple=True,
    help="A hyperparameter of the estimator. Repeatable.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The share of rows held out to measure the model.",
)
@click.option(
    "--sample-rows",
    metavar="ROWS",
    type=click.IntRange(1),
    help="Train on a random sample of this many rows, for a table larger than memory.",
)
@click.option("--seed", type=click.IntRange(0), help="The random seed.")
@click.option(
    "--delimiter",
    type=Character(),
    help="The character between the cells of a CSV. By default a comma, or in a .tsv a tab.",
)
@MAX_REJECTED
@click.option("--promote/--no-promote", help="Make the new version current.")
@click.option("--dry-run", is_flag=True, help="Only say what would be learnt, and how.")
@click.option("--force", is_flag=True, help="Train even if the model is up to date.")
@MODEL
@MODELS_DIR
def train(dry_run: bool, **options: Any) -> None:
    """Train a model on a table and publish it."""
    limit_threads(cpu_limit())

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM cleans up as Ctrl-C does
    options["identifiers"] = options.pop("id")
    options["na_values"] = options.pop("na_value")
    options["kinds"] = dict(pairs("kind", options.pop("kind")))
    options["forms"] = dict(pairs("form", options.pop("form")))
    options["params"] = {name: literal(text) for name, text in pairs("param", options.pop("param"))}
    settings = TrainSettings(**options)
    with Progress() as progress:
        if dry_run:
            from trivet.train import plan

            said = plan.dry_run(settings, progress)
        else:
            from trivet.train.report import summary
            from trivet.train.run import train

            result = train(settings, progress, progress.step)
            said = summary(result.manifest, result.trained, result.current)
    click.echo(said)


@defaults_from(BatchSettings)
@main.command(cls=BatchCommand)
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
def batch_predict(**options: Any) -> None:
    """Predict every row of one table, or of many."""
    limit_threads(cpu_limit())
    from trivet.batch.run import batch_predict
    from trivet.batch.summary import lines_of

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops a run as Ctrl-C does
    settings = BatchSettings(**options)
    with Progress() as watch:
        summary = batch_predict(settings, watch)
    for line in lines_of(summary, str(settings.output)):
        click.echo(line, err=settings.output == "-")


@defaults_from(ListenSettings)
@main.command()
@click.argument(  # SageMaker starts a container with this word
    "serve", required=False, type=click.Choice(["serve"]), metavar="", expose_value=False
)
@click.option("--host", help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    envvar=["TRIVET_SERVE_PORT", "AIP_HTTP_PORT"],
    help="The port to listen on.",
)
@WORKERS
@limit("--max-body", "BYTES", "Refuse requests larger than this.")
@limit("--max-rows", "RECORDS", "Refuse requests with more records than this.")
@limit("--max-in-flight", "REQUESTS", "Refuse requests beyond this many at once, in each worker.")
@seconds("--deadline", "Give up on a request after this long.", least=0.1)
@seconds("--drain", "After SIGTERM, keep answering for this long while reporting not ready.")
@seconds("--reload-every", "How often to check for a new current version; 0: never.")
@click.option(
    "--api-key-file", type=FILE, help="Answer only callers with a key from this file, one per line."
)
@click.option("--access-log/--no-access-log", help="Log every request.")
@click.option(
    "--predict-route",
    metavar="PATH",
    envvar=["TRIVET_SERVE_PREDICT_ROUTE", "AIP_PREDICT_ROUTE"],
    help="Another path for /predict.",
)
@click.option(
    "--health-route",
    metavar="PATH",
    envvar=["TRIVET_SERVE_HEALTH_ROUTE", "AIP_HEALTH_ROUTE"],
    help="Another path for /health/ready.",
)
@MODEL
@MODEL_VERSION
@MODELS_DIR
def serve(api_key_file: Path | None, **options: Any) -> None:
    """Answer requests over HTTP."""
    # One thread per worker: requests are small, and more threads would compete for cores.
    limit_threads(1)
    from trivet.online.keys import read_keys
    from trivet.online.server import serve

    api_keys = read_keys(api_key_file) if api_key_file else ()
    serve(ListenSettings(api_keys=api_keys, **options))


@main.group()
def models() -> None:
    """Look at the stored models, and choose the current version."""


@models.command("list")
@click.option("--model", cls=Filter, metavar="NAME", help="List the versions of this model alone.")
@MODELS_DIR
def list_models(model: str | None, models_dir: Path) -> None:
    """List all versions of all models; * marks the current ones."""
    click.echo("\n".join(describe(ModelStore(models_dir), model)))


@models.command()
@click.argument("version", required=False)
@MODEL
@MODELS_DIR
def show(version: str | None, model: str, models_dir: Path) -> None:
    """Print the report of a version, by default the current one."""
    artifact = ModelStore(models_dir).artifact(model, version)
    click.echo(artifact.verify_files()[REPORT].decode())


@models.command()
@click.argument("version")
@MODEL
@MODELS_DIR
def promote(version: str, model: str, models_dir: Path) -> None:
    """Make a version current."""
    ModelStore(models_dir).promote(model, version)
    click.echo(f"{model}: current is {version}")


@models.command()
@MODEL
@MODELS_DIR
def rollback(model: str, models_dir: Path) -> None:
    """Make the version current that was current before."""

    def pass_over(error: TrivetError) -> None:
        click.echo(f"passed over: {error}", err=True)

    click.echo(f"{model}: current is {ModelStore(models_dir).rollback(model, pass_over)}")
