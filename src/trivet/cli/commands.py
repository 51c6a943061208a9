"""The commands: they map options onto functions, nothing else.

Every option can be set in three ways: ``--port 80``, ``TRIVET_SERVE_PORT=80``, and ``port = 80``
under ``[serve]`` in trivet.toml. The command line wins over the environment, the environment over
the file, and the file over the default.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from trivet.cli.batch_predict import batch_predict
from trivet.cli.health import health
from trivet.cli.models import models
from trivet.cli.options import FILE
from trivet.cli.serve import serve
from trivet.cli.settings_file import load_defaults
from trivet.cli.train import train
from trivet.cli.trouble import Trivet
from trivet.cli.version import print_version

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


for command in (train, batch_predict, serve, health, models):
    main.add_command(command)
