"""The commands: they map options onto functions, nothing else.

Each option is reachable three ways: ``--port 80``, ``TRIVET_SERVE_PORT=80``, and ``port = 80``
under ``[serve]`` in trivet.toml. The command line wins over the environment, that over the file,
and the file over the default.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, get_args

import click

import trivet
from trivet.cli.options import (
    FILE,
    MODEL,
    MODEL_VERSION,
    MODELS_DIR,
    Character,
    Names,
    RejectedLimit,
    Workers,
    limit,
    seconds,
)
from trivet.cli.settings_file import DescribedByFlags, literal, load_defaults, pairs
from trivet.cpus import cpu_limit, limit_threads
from trivet.errors import TrivetError
from trivet.rows.contract import Kind

#: What the packages of each extra are imported as.
EXTRAS = {
    "train,batch": {"joblib", "pyarrow"},
    "batch": {"fsspec"},
    "cluster": {"dask", "distributed"},
    "pipeline": {"pandas", "scipy", "sklearn"},
    "online": {"fastapi", "fastapi_swagger", "prometheus_client", "starlette", "uvicorn"},
}


class Trouble(click.ClickException):
    """Expected trouble as the command shows it: one line, and the exit code of its kind."""

    def __init__(self, error: TrivetError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc] # of the instance, as click says


class Trivet(click.Group):
    """A group whose commands print expected trouble as one line, and exit with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TrivetError as error:
            raise Trouble(error) from error
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("trivet"):
                raise
            raise click.ClickException(_missing_package(error.name)) from error


@click.group(
    cls=Trivet, context_settings={"auto_envvar_prefix": "TRIVET", "max_content_width": 100}
)
@click.version_option(trivet.__version__)
@click.option(
    "--config",
    type=FILE,
    default=Path("trivet.toml"),
    show_default=True,
    help="The file of settings.",
)
@click.pass_context
def main(ctx: click.Context, config: Path) -> None:
    """Take a scikit-learn model to production: train it, predict in batches, serve it."""
    explicit = ctx.get_parameter_source("config") is not click.core.ParameterSource.DEFAULT
    ctx.default_map = load_defaults(config, main, required=explicit)


@main.command(cls=DescribedByFlags)
@click.option("--data", type=FILE, required=True, help="The table to learn from: .csv or .parquet.")
@click.option("--target", metavar="COLUMN", required=True, help="The column to predict.")
@click.option(
    "--id",
    metavar="COLUMN",
    multiple=True,
    help="Identifier column: carried through, never a feature. Repeatable.",
)
@click.option(
    "--exclude", metavar="COLUMN", multiple=True, help="Leave this column out. Repeatable."
)
@click.option(
    "--time-column",
    metavar="COLUMN",
    help="Hold out the latest rows by this column; else a random share.",
)
@click.option(
    "--kind",
    metavar="COLUMN=KIND",
    multiple=True,
    help=f"What a column is: {', '.join(get_args(Kind))}. Repeatable.",
)
@click.option(
    "--nullable",
    metavar="COLUMN",
    multiple=True,
    help="A feature that may be missing, even if it never was in training. Repeatable.",
)
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    help="What to learn; inferred from the target by default.",
)
@click.option(
    "--estimator",
    metavar="NAME",
    default="hist_gradient_boosting",
    show_default=True,
    help="hist_gradient_boosting, random_forest, extra_trees, logistic or ridge.",
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
    default=0.2,
    show_default=True,
    help="Share of rows kept back to measure the model.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
@click.option(
    "--promote/--no-promote", default=True, show_default=True, help="Make the new version current."
)
@click.option("--force", is_flag=True, help="Train even if the model is up to date.")
@MODEL
@MODELS_DIR
def train(**options: Any) -> None:
    """Learn a model from a table and publish it."""
    limit_threads(cpu_limit())
    from trivet.train.report import summary
    from trivet.train.run import train
    from trivet.train.settings import TrainSettings

    options["identifiers"] = options.pop("id")
    options["kinds"] = dict(pairs("kind", options.pop("kind")))
    options["params"] = {name: literal(text) for name, text in pairs("param", options.pop("param"))}
    click.echo(summary(train(TrainSettings(**options))))


@main.command()
@click.option(
    "--input",
    metavar="PATH",
    required=True,
    help="A file, a directory, a glob, an address such as s3://..., or -: "
    ".csv, .jsonl (also .gz, .zst), .parquet, .arrow.",
)
@click.option(
    "--output",
    metavar="PATH",
    required=True,
    help="What to write: .csv or .parquet, DIRECTORY/ for a directory of parts, or -.",
)
@click.option(
    "--columns",
    metavar="NAME,...",
    type=Names(),
    help="Carry these along; by default, all that are no features.",
)
@click.option(
    "--delimiter",
    type=Character(),
    default=",",
    show_default=True,
    help="What separates the cells of a CSV, in and out.",
)
@click.option(
    "--max-rejected",
    metavar="ROWS|SHARE",
    type=RejectedLimit(),
    default="1%",
    show_default=True,
    help="End with 3 where more rows are rejected; 0: at the first.",
)
@click.option("--resume", is_flag=True, help="Go on with a run that was ended midway.")
@click.option(
    "--chunk-rows",
    metavar="ROWS",
    type=click.IntRange(1),
    help="Predict at most so many at a time; by default, as wide as they are.",
)
@click.option(
    "--workers",
    metavar="NUMBER|auto",
    type=Workers(1),
    default="auto",
    show_default=True,
    help="Worker processes; auto: one a processor.",
)
@click.option("--cluster", metavar="ADDRESS", help="A Dask scheduler to hand the parts to.")
@MODEL
@MODEL_VERSION
@MODELS_DIR
def batch_predict(**options: Any) -> None:
    """Predict every row of a table, or of many."""
    limit_threads(cpu_limit())
    from trivet.batch.progress import lines_of, shown
    from trivet.batch.run import batch_predict
    from trivet.batch.settings import BatchSettings

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops a run as Ctrl-C does
    settings = BatchSettings(**options)
    summary = batch_predict(settings, shown)
    for line in lines_of(summary, settings.output):
        click.echo(line, err=settings.output == "-")


@main.command()
@click.argument(
    "serve", required=False, type=click.Choice(["serve"]), metavar="", expose_value=False
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    envvar=["TRIVET_SERVE_PORT", "AIP_HTTP_PORT"],
    help="The port.",
)
@click.option(
    "--workers",
    metavar="NUMBER|auto",
    type=Workers(1),
    default=1,
    show_default=True,
    help="Worker processes; auto: one a processor.",
)
@limit("--max-body", "BYTES", 4_000_000, "Refuse larger requests.")
@limit("--max-rows", "RECORDS", 10_000, "Refuse requests of more records.")
@limit("--max-in-flight", "REQUESTS", 1_000, "Turn away what comes beyond, in each worker.")
@seconds("--deadline", 10.0, "Give up a request after this long.", least=0.1)
@seconds("--drain", 1.0, "After SIGTERM, go on answering for this long, but not be ready.")
@seconds("--reload-every", 1.0, "How often to look for another current version; 0: never.")
@click.option(
    "--api-key-file", type=FILE, help="Answer only callers with a key from this file, one a line."
)
@click.option(
    "--access-log/--no-access-log", default=False, show_default=True, help="Log every request."
)
@click.option(
    "--predict-route",
    metavar="PATH",
    envvar=["TRIVET_SERVE_PREDICT_ROUTE", "AIP_PREDICT_ROUTE"],
    help="Answer here as at /predict, too.",
)
@click.option(
    "--health-route",
    metavar="PATH",
    envvar=["TRIVET_SERVE_HEALTH_ROUTE", "AIP_HEALTH_ROUTE"],
    help="Answer here as at /health, too.",
)
@MODEL
@MODEL_VERSION
@MODELS_DIR
def serve(host: str, port: int, api_key_file: Path | None, **options: Any) -> None:
    """Answer requests over HTTP."""
    # One thread a worker: a request is small, and threads of several workers would fight for cores.
    limit_threads(1)
    from trivet.online.keys import read_keys
    from trivet.online.server import serve
    from trivet.online.settings import ServeSettings

    api_keys = read_keys(api_key_file) if api_key_file else ()
    serve(ServeSettings(api_keys=api_keys, **options), host=host, port=port)


@main.group()
def models() -> None:
    """Look at the stored models, and choose the version in use."""


@models.command("list")
@MODELS_DIR
def list_models(models_dir: Path) -> None:
    """List all versions of all models; * marks the current ones."""
    from trivet.cli.listing import describe
    from trivet.model.store import ModelStore

    click.echo("\n".join(describe(ModelStore(models_dir))))


@models.command()
@click.argument("version", required=False)
@MODEL
@MODELS_DIR
def show(version: str | None, model: str, models_dir: Path) -> None:
    """Print the report of a version, the current one by default."""
    from trivet.model.artifact import REPORT
    from trivet.model.store import ModelStore

    artifact = ModelStore(models_dir).artifact(model, version)
    click.echo(artifact.verify_files()[REPORT].decode())


@models.command()
@click.argument("version")
@MODEL
@MODELS_DIR
def promote(version: str, model: str, models_dir: Path) -> None:
    """Make a version the current one."""
    from trivet.model.store import ModelStore

    ModelStore(models_dir).promote(model, version)
    click.echo(f"{model}: current is {version}")


@models.command()
@MODEL
@MODELS_DIR
def rollback(model: str, models_dir: Path) -> None:
    """Go back to the version that was current before."""
    from trivet.model.store import ModelStore

    click.echo(f"{model}: current is {ModelStore(models_dir).rollback(model)}")


def _missing_package(module: str) -> str:
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"{module} is not installed: pip install 'trivet[{extra}]'"
    return f"{module} is not installed: pip install {module}"
