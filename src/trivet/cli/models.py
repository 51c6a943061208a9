"""The commands `trivet models ...`."""

from __future__ import annotations

from pathlib import Path

import click

from trivet.cli.listing import describe, tell
from trivet.cli.options import FILE, MODEL, MODELS_DIR
from trivet.cli.settings_file import Filter
from trivet.errors import TrivetError
from trivet.model import care
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
@click.argument("version")
@click.argument("tag")
@MODEL
@MODELS_DIR
def tag(version: str, tag: str, model: str, models_dir: Path) -> None:
    """Give a version a tag, which keeps it from being pruned; a tag is on one version at a time."""
    before = care.tag(ModelStore(models_dir), model, tag, version)
    moved = f", and no longer {before}" if before not in (None, version) else ""
    click.echo(f"{model}: {tag} is {version}{moved}")


@models.command()
@click.argument("tag")
@MODEL
@MODELS_DIR
def untag(tag: str, model: str, models_dir: Path) -> None:
    """Take a tag away."""
    version = care.untag(ModelStore(models_dir), model, tag)
    click.echo(f"{model}: {version} is no longer {tag}")


@models.command()
@click.argument("version")
@click.argument("text")
@MODEL
@MODELS_DIR
def note(version: str, text: str, model: str, models_dir: Path) -> None:
    """Write a note on a version, for the list, in place of the one before; "" removes it."""
    care.note(ModelStore(models_dir), model, version, text)
    click.echo(f"{model}: {version} has {'the note: ' + text if text else 'no note'}")


@models.command()
@click.option(
    "--keep", metavar="VERSIONS", type=click.IntRange(0), required=True, help="Keep so many."
)
@click.option("--yes", is_flag=True, help="Remove them; otherwise only say which it would be.")
@MODEL
@MODELS_DIR
def prune(keep: int, yes: bool, model: str, models_dir: Path) -> None:
    """Remove all but the newest versions, the current one, the one before, and the tagged ones."""
    versions = (care.prune if yes else care.prunable)(ModelStore(models_dir), model, keep)
    for version in versions:
        click.echo(f"{'removed' if yes else 'would remove'} {model} {version}")
    if not versions:
        click.echo(f"{model}: nothing to remove")
    elif not yes:
        click.echo("nothing was removed; add --yes to remove them")


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
