"""The commands `trivet models ...`."""

from __future__ import annotations

from pathlib import Path

import click

from trivet.cli.listing import describe, tell
from trivet.cli.options import FILE, MODEL, MODELS_DIR
from trivet.cli.settings_file import Filter
from trivet.errors import TrivetError
from trivet.model.artifact import REPORT
from trivet.model.store import ModelStore
from trivet.model.trust import Trust


@click.group()
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
@click.option("--reason", metavar="TEXT", default="", help="Why, for the history.")
@MODEL
@MODELS_DIR
def promote(version: str, reason: str, model: str, models_dir: Path) -> None:
    """Make a version current."""
    ModelStore(models_dir).promote(model, version, reason)
    click.echo(f"{model}: current is {version}")


@models.command()
@click.option("--reason", metavar="TEXT", default="rolled back", help="Why, for the history.")
@MODEL
@MODELS_DIR
def rollback(reason: str, model: str, models_dir: Path) -> None:
    """Make the version current that was current before."""

    def pass_over(error: TrivetError) -> None:
        click.echo(f"passed over: {error}", err=True)

    click.echo(f"{model}: current is {ModelStore(models_dir).rollback(model, pass_over, reason)}")


@models.command()
@click.argument("file", type=FILE)
def keygen(file: Path) -> None:
    """Make a pair of keys: FILE to sign versions with, FILE.pub to verify them with."""
    from trivet.model.keys import generate  # needs an extra

    click.echo(f"{file} signs: keep it secret; {generate(file)} verifies: give it to the legs")


@models.command()
@click.argument("version", required=False)
@click.option("--sign-key", type=FILE, required=True, help="The private key to sign with.")
@MODEL
@MODELS_DIR
def sign(version: str | None, sign_key: Path, model: str, models_dir: Path) -> None:
    """Sign a version, by default the current one, in place of any signature that it has."""
    from trivet.model.keys import Signer  # needs an extra

    signed = ModelStore(models_dir).sign(model, version, Signer(sign_key).sign)
    click.echo(f"{model}: {signed} is signed")


@models.command()
@click.argument("version", required=False)
@click.option("--verify-key", type=FILE, required=True, help="The public key to verify with.")
@MODEL
@MODELS_DIR
def verify(version: str | None, verify_key: Path, model: str, models_dir: Path) -> None:
    """Check the signature and all files of a version, by default the current one."""
    artifact = ModelStore(models_dir, Trust.of(verify_key)).artifact(model, version)
    artifact.verify_files()
    click.echo(f"{model}: {artifact.manifest.version} is as it was signed")


@models.command()
@MODEL
@MODELS_DIR
def history(model: str, models_dir: Path) -> None:
    """Print when which version was made current, by what and why; the newest first."""
    for promotion in reversed(ModelStore(models_dir).promotions(model)):
        click.echo(tell(promotion))
