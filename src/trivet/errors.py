"""Every error that a user can see. Each message names the cause and the fix.

TrivetError                 expected trouble: one line, no traceback
├── SettingsError           an option, or a key of trivet.toml, that can't be used
├── TableError              a table can't be read or written, or a value breaks the contract
├── TrainingError           this table and these settings don't make a model
├── StoreError              a model or a version is not there, or can't be published
├── BatchError              a batch run can't go on; what it has done stays for --resume
│   ├── TooManyRejected     more rows were rejected than --max-rejected allows
│   └── StoppedError        a batch run was told to stop
├── ArtifactError           an artifact is not what train wrote, or not for this environment
└── RecordsRejected         records of a request break the contract; holds the faults
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class TrivetError(Exception):
    """Expected trouble: its text is one line that names the cause and the fix."""

    #: What the command ends with.
    exit_code = 1


class SettingsError(TrivetError):
    """An option, or a key of trivet.toml, that can't be used."""


class TableError(TrivetError):
    """A table can't be read or written, or a value in it breaks the contract."""


class TrainingError(TrivetError):
    """This table and these settings don't make a model."""


class StoreError(TrivetError):
    """A model or a version is not in the store, or can't be published to it."""


class ArtifactError(TrivetError):
    """An artifact is not what train wrote, or was made for another environment."""


class BatchError(TrivetError):
    """A batch run can't go on; what it has done stays for one with --resume."""


class TooManyRejected(BatchError):
    """More rows were rejected than --max-rejected allows."""

    exit_code = 3


class StoppedError(BatchError):
    """A batch run was told to stop, by Ctrl-C or by whoever runs its container."""

    exit_code = 130  # as a shell has it for Ctrl-C


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with one record.

    ``row`` counts from 0 within the request; ``field`` is None where the record as a whole is at
    fault; ``code`` is missing, type, not_finite, unknown_field or not_a_record; ``nearest`` is the
    known field name closest to an unknown one.
    """

    row: int | None = None
    field: str | None = None
    code: str
    expected: str
    nearest: str | None = None

    def __str__(self) -> str:
        place = ", ".join(
            part
            for part in (
                None if self.row is None else f"row {self.row}",
                None if self.field is None else f"field {self.field!r}",
            )
            if part
        )
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{place + ': ' if place else ''}expected {self.expected}{hint}"


class RecordsRejected(TrivetError):
    """Records of a request break the contract."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")
        self.faults = tuple(faults)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is closest to a misspelt one, or None where none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause that ends an error message: ``; did you mean 'x'?``, or nothing."""
    match = nearest(name, known)
    return f"; did you mean {match!r}?" if match else ""
