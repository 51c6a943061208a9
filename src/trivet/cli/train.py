"""The command `trivet train`."""

from __future__ import annotations

import json
import signal
from typing import Any, get_args

import click
from click.core import ParameterSource

from trivet.cli.options import (
    FILE,
    FORMATS,
    MAX_REJECTED,
    MODEL,
    MODELS_DIR,
    Character,
    defaults_from,
)
from trivet.cli.progress import Progress
from trivet.cpus import cpu_limit, limit_threads
from trivet.errors import SettingsError
from trivet.rows.contract import MISSING_WORDS, Form, Kind
from trivet.train.settings import TrainSettings

#: Options of `trivet train` that make sense only together with the value of others.
OWNERS = {
    "estimator": ("pipeline",),
    "features": ("pipeline", "estimator"),
    "param": ("pipeline", "estimator"),
}

#: What Python calls null, true and false.
WORDS = {"None": None, "True": True, "False": False}


class TrainCommand(click.Command):
    """Uses only those settings of trivet.toml that are for this table, pipeline and estimator.

    With --target on the command line, the flags describe the table: identifiers or a time column of
    the file's table would be wrong for any other. The estimator and its hyperparameters in the file
    are for the pipeline and the estimator in the file. A line on stderr says what is not used.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options, without the settings that are for another table or estimator."""
        file = kept = ctx.default_map or {}
        if any(arg.partition("=")[0] == "--target" for arg in args):
            kept = {name: value for name, value in file.items() if name == "models_dir"}
        ctx.default_map = kept
        rest = super().parse_args(ctx, args)
        source = ctx.get_parameter_source
        if any(source(name) is ParameterSource.DEFAULT for name in file.keys() - kept.keys()):
            why = "--target describes another table; only models-dir still applies"
            _say_unused(ctx, "[train]", why)
        for name, owners in OWNERS.items():
            if source(name) is ParameterSource.DEFAULT_MAP:
                for owner in owners:
                    given = file.get(owner), ctx.params[owner]
                    meant, used = (str(each or f"the default {owner}") for each in given)
                    if meant != used:
                        ctx.params[name] = () if name == "param" else None
                        place = "[train.params]" if name == "param" else f"[train] {name}"
                        _say_unused(ctx, place, f"it is for {meant}, not for {used}")
                        break
        return rest


@defaults_from(TrainSettings)
@click.command(cls=TrainCommand)
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
@click.option(
    "--sign-key",
    type=FILE,
    help="Sign the version with this private key; one that it has not signed is not up to date.",
)
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


def _say_unused(ctx: click.Context, section: str, why: str) -> None:
    path = ctx.find_root().params["config"]
    click.echo(f"{path}: {section} is not used, because {why}", err=True)


def pairs(option: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """NAME=VALUE texts, split at the first ``=`` for a parameter, and at the last for a column."""
    for text in texts:
        if "=" not in text:
            raise SettingsError(f"--{option} {text}: write it as NAME=VALUE")
    split = str.partition if option == "param" else str.rpartition
    return [(name, value) for name, _, value in (split(text, "=") for text in texts)]


def literal(text: str) -> Any:
    """The value of a hyperparameter: JSON, or a word of Python's, or else the text itself.

    The words may be quoted: TOML has no other way to write None.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    return WORDS.get(value, value) if isinstance(value, str) else value
