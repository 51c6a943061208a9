"""Expected trouble as the command shows it: one line on stderr, and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from importlib.metadata import distribution
from typing import Any

import click

from trivet.errors import TrivetError

#: Commands that need several extras, and the extra that includes them.
LEGS = {"train": "train", "batch-predict": "batch"}


class Trouble(click.ClickException):
    """Expected trouble: one line, and the exit code of its kind."""

    def __init__(self, error: TrivetError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc] # of the instance, as click says


class Trivet(click.Group):
    """A group whose commands show expected trouble, and name what to install."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or exiting fails, too
            ctx.exit(128 + signal.SIGPIPE)
        except TrivetError as error:
            raise Trouble(error) from error
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("trivet"):
                raise
            message = missing_package(error.name, ctx.invoked_subcommand)
            raise click.ClickException(message) from error


def missing_package(module: str, command: str | None) -> str:
    """What to install if a command lacks a module: an extra, or a package of the user's own."""
    package = "scikit-learn" if module == "sklearn" else module.replace("_", "-")
    trivet = distribution("trivet")
    for requirement in trivet.requires or ():
        if found := re.fullmatch(rf'{re.escape(package)}[^\w-].*extra == "(\w+)".*', requirement):
            extra = found[1]
            if extra in ("pipeline", "tables"):
                extra = LEGS.get(command or "", extra)
            origin = json.loads(trivet.read_text("direct_url.json") or "{}")
            if origin.get("dir_info", {}).get("editable"):
                return f"{module} is not installed: make setup, or pip install -e '.[{extra}]'"
            return f"{module} is not installed: pip install 'trivet[{extra}]'"
    return f"{module} is not installed: pip install {module}"
