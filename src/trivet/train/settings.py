"""What a training run is told, and how it tells its caller how far it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

from pydantic import JsonValue

from trivet.errors import SettingsError, require_list, require_number, require_path
from trivet.model.store import DEFAULT_DIRECTORY, DEFAULT_MODEL
from trivet.rows.contract import MISSING_WORDS, Form, Kind, Task
from trivet.rows.rejects import ONE_PERCENT, MaxRejected

#: Called with the rows and bytes read so far, and the bytes of all.
Watch = Callable[[int, int, int], object]
#: Called with the name of a step that begins.
OnStep = Callable[[str], object]

#: Settings that only say what is read and where a model goes; all others shape the model. (The
#: content of the pipeline file does, too: see `trivet.train.version`.)
NOT_SHAPING = {
    *("data", "pipeline", "max_rejected", "model", "models_dir", "promote", "force", "sign_key")
}


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one training run; raises `SettingsError` for one that cannot be used.

    ``data`` is a path or an address, as `find_sources` takes it. ``weight_column`` says how much a
    row counts in the fit; the metrics count each row once. ``na_values`` are the words that mean a
    missing value; empty text always does. ``sample_rows`` limits how many rows are used: a random
    sample, drawn with ``seed``. ``pipeline`` is the file that builds the pipeline, by default the
    package's own; ``estimator``, ``features`` and ``params`` are for it. With ``sign_key``, the
    file of a private key, the version is signed, and one is up to date only if that key signed it.
    """

    data: str | Path
    target: str
    identifiers: tuple[str, ...] | list[str] = ()
    exclude: tuple[str, ...] | list[str] = ()
    time_column: str | None = None
    group_column: str | None = None
    weight_column: str | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=dict)
    nullable: tuple[str, ...] | list[str] = ()
    na_values: tuple[str, ...] | list[str] = MISSING_WORDS
    task: Task | None = None
    pipeline: str | Path | None = None
    estimator: str | None = None
    features: str | None = None
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    held_out: float = 0.2
    sample_rows: int | None = None
    seed: int = 0
    delimiter: str | None = None
    max_rejected: MaxRejected | str | int = ONE_PERCENT
    model: str = DEFAULT_MODEL
    models_dir: str | Path = DEFAULT_DIRECTORY
    promote: bool = True
    force: bool = False
    sign_key: str | Path | None = None

    def __post_init__(self) -> None:
        """Check what the types do not."""
        require_path("data", self.data)
        for names in ("identifiers", "exclude", "nullable", "na_values"):
            require_list(names, getattr(self, names))
        for word in self.na_values:
            if is_number(word):
                raise SettingsError(
                    f"na-value {word}: a number can't stand for a missing value; empty its cells"
                )
        require_number("sample_rows", self.sample_rows)
        require_number("seed", self.seed, least=0)
        _ = self.limit
        if self.time_column and self.group_column:
            raise SettingsError(
                "time_column and group_column both decide which rows are held out; give one of them"
            )
        if not 0 < self.held_out < 1:
            raise SettingsError(f"held_out={self.held_out}: it is a share between 0 and 1")
        for name, kind in self.kinds.items():
            _require_known(name, "kind", kind, get_args(Kind))
        for name, form in self.forms.items():
            _require_known(name, "form", form, get_args(Form))

    @property
    def limit(self) -> MaxRejected:
        """How many rows may be rejected; raises `SettingsError`."""
        return MaxRejected.of(self.max_rejected)

    def shaping(self) -> dict[str, JsonValue]:
        """The settings that shape the model, as JSON: their digest is part of a version's name."""
        settings = {name: value for name, value in asdict(self).items() if name not in NOT_SHAPING}
        as_json: dict[str, JsonValue] = json.loads(json.dumps(settings, sort_keys=True))
        return as_json


def is_number(word: str) -> bool:
    """Whether a text is a number; NaN is not."""
    try:
        return not math.isnan(float(word))
    except ValueError:
        return False


def _require_known(name: str, what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        choices = ", ".join(known)
        raise SettingsError(f"{name} can't be of {what} {given!r}; a {what} is one of {choices}")
