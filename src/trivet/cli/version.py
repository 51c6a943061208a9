"""What ``trivet --version`` prints: a release, and the code that this really is."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import click

import trivet

#: How many hex digits of the digest are printed.
DIGITS = 12


def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version and the digest of the code, and exit."""
    if wanted:
        digest = package_digest(Path(trivet.__file__).parent)
        click.echo(f"trivet, version {trivet.__version__}, code {digest[:DIGITS]}")
        ctx.exit()


def package_digest(package: Path) -> str:
    """SHA-256 of every Python file of a package: equal in a checkout and in an image built from it.

    It covers all legs, comments included, and doesn't depend on the version of Python.
    """
    digest = sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.parts):
        content = sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content} {path.relative_to(package).as_posix()}\n".encode())
    return digest.hexdigest()
