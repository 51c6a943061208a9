"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from trivet.model.store import DEFAULT_DIRECTORY, DEFAULT_MODEL
from trivet.rows.rejects import MaxRejected

Command = Callable[..., Any]
FILE = click.Path(path_type=Path, dir_okay=False)
#: What tables may be read from.
FORMATS = "Formats: .csv, .tsv and .jsonl, also with .gz or .zst; .parquet; .arrow."
MODEL = click.option("--model", metavar="NAME", default=DEFAULT_MODEL, help="The model's name.")
MODELS_DIR = click.option(
    "--models-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DIRECTORY,
    help="Where models are stored.",
)
MODEL_VERSION = click.option(
    "--model-version", metavar="VERSION", help="Use this version instead of the current one."
)
VERIFY_KEY = click.option(
    "--verify-key", type=FILE, help="Use only a version that is signed, by this public key."
)
NO_PICKLE = click.option(
    "--no-pickle", is_flag=True, help="Use only a version that was compiled: unpickle nothing."
)


class NumberOrAuto(click.IntRange):
    """A whole number, or ``auto``."""

    def convert(self, value: Any, *context: Any) -> Any:
        """The number, or ``auto``."""
        return value if value == "auto" else super().convert(value, *context)


WORKERS = click.option(
    "--workers",
    metavar="NUMBER|auto",
    type=NumberOrAuto(1),
    help="Worker processes; auto: one per processor.",
)


def limit(name: str, unit: str, text: str) -> Callable[[Command], Command]:
    """An option that limits the load on the service."""
    return click.option(name, metavar=unit, type=click.IntRange(1), help=text)


def seconds(name: str, text: str, least: float = 0) -> Callable[[Command], Command]:
    """An option that is a duration."""
    return click.option(name, metavar="SECONDS", type=click.FloatRange(least), help=text)


def defaults_from(settings: type) -> Callable[[click.Command], click.Command]:
    """Give each option of a command the default of the field of ``settings`` with its name."""
    known = {field.name: field.default for field in fields(settings)}

    def give(command: click.Command) -> click.Command:
        for param in command.params:
            default = known.get(param.name or "", MISSING)
            if default is not MISSING:
                param.default = default
        return command

    return give


class RejectedLimit(click.ParamType[Any]):
    """How many rows may be rejected: a number, or a share such as ``1%``."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The limit that the text stands for."""
        try:
            return MaxRejected.parse(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a number of rows nor a share from 0% to 100%")


MAX_REJECTED = click.option(
    "--max-rejected",
    metavar="ROWS|SHARE",
    type=RejectedLimit(),
    help="Exit with code 3 if more rows than this are rejected; 0 stops at the first.",
)


class Names(click.ParamType[Any]):
    """Names separated by commas, quoted as in a CSV if they contain one; in the file, a list."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, in order."""
        if isinstance(value, str):
            return tuple(dict.fromkeys(next(csv.reader([value]), ())))
        return tuple(value)


class Character(click.ParamType[Any]):
    r"""One ASCII character; ``\t`` is a tab."""

    name = "character"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The character."""
        text = "\t" if value == "\\t" else str(value)
        if len(text) != 1 or not text.isascii() or text in '"\r\n':
            self.fail(f"{value!r} can't separate cells; use one character, such as ; or \\t")
        return text
