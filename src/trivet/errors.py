"""Every error that a user can see. Each message names the cause and the fix.

TrivetError                 expected trouble: one line, no traceback
├── SettingsError           an option, or a key of trivet.toml, that cannot be used
├── TableError              a table cannot be read or written, or a value breaks the contract
│   └── TooManyRejected     more rows were rejected than --max-rejected allows
├── TrainingError           no model can be made from this table with these settings
├── StoreError              a model or version does not exist, or cannot be published
├── ArtifactError           an artifact was changed after training, or needs another environment
├── BatchError              a batch run cannot continue; --resume keeps what it has done
│   └── StoppedError        a batch run was told to stop
└── RecordsRejected         records of a request break the contract; holds the faults
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike


class TrivetError(Exception):
    """Expected trouble: its text is one line that names the cause and the fix."""

    #: The exit code of the command.
    exit_code = 1


class SettingsError(TrivetError):
    """An option, or a key of trivet.toml, that cannot be used."""


class TableError(TrivetError):
    """A table cannot be read or written, or a value in it breaks the contract."""


class TooManyRejected(TableError):
    """More rows were rejected than --max-rejected allows."""

    exit_code = 3


class TrainingError(TrivetError):
    """No model can be made from this table with these settings."""


class StoreError(TrivetError):
    """A model or version does not exist in the store, or cannot be published to it."""


class ArtifactError(TrivetError):
    """An artifact was changed after training, or was made in an environment unlike this one."""


class BatchError(TrivetError):
    """A batch run cannot continue; a run with --resume keeps what it has done."""


class StoppedError(BatchError):
    """A batch run was told to stop, by Ctrl-C or by SIGTERM."""

    exit_code = 130  # as shells report Ctrl-C


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with one record.

    ``row`` counts from 0 within the request; ``field`` is None if the whole record is at fault;
    ``code`` is missing, type, not_finite, unknown_field or not_a_record; ``nearest`` is the known
    field whose name is closest to an unknown one.
    """

    row: int | None = None
    field: str | None = None
    code: str
    expected: str
    nearest: str | None = None

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row}"
        field = "" if self.field is None else f"field {self.field!r}"
        place = ", ".join(filter(None, (row, field)))
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{place + ': ' if place else ''}expected {self.expected}{hint}"


class RecordsRejected(TrivetError):
    """Records of a request break the contract."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[RecordsRejected], tuple[object, ...]]:
        return type(self), (self.faults,)  # what it is made from, when it is unpickled


def require_list(setting: str, value: object) -> None:
    """Raise `SettingsError` for text in place of a list, which would be read letter by letter."""
    if isinstance(value, str):
        raise SettingsError(f"{setting} is a list: write {setting}=[{value!r}]")


def require_path(setting: str, value: object) -> None:
    """Raise `SettingsError` for a table in place of the path of one."""
    if not isinstance(value, str | PathLike):
        kind = type(value).__name__
        raise SettingsError(f"{setting} is the path of a table, not a {kind}: save that to a file")


def require_number(setting: str, value: object, least: int = 1, auto: bool = False) -> None:
    """Raise `SettingsError` for anything but None, a whole number from ``least``, or ``auto``."""
    fits = type(value) is int and value >= least
    if not (value is None or fits or (auto and value == "auto")):
        word = " or 'auto'" if auto else ""
        raise SettingsError(f"{setting}={value!r}: it is a whole number from {least}{word}")


def require_seconds(setting: str, value: object, least: float = 0) -> None:
    """Raise `SettingsError` for anything but a finite number of seconds from ``least``."""
    is_number = isinstance(value, int | float) and type(value) is not bool
    if not (is_number and least <= value < math.inf):  # type: ignore[operator]
        raise SettingsError(f"{setting}={value!r}: it is a number of seconds from {least:g}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is closest to a misspelt one, or None if none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause that ends an error message: ``; did you mean 'x'?``, or nothing."""
    match = nearest(name, known)
    return f"; did you mean {match!r}?" if match else ""


def shortened(text: str, most: int = 100) -> str:
    """A text that a caller chose, without its middle if it has more than ``most`` characters.

    Whatever is kept or sent back of such a text passes through here.
    """
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
