"""The settings of a service."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from trivet.cpus import Workers
from trivet.errors import SettingsError
from trivet.model.artifact import Artifact
from trivet.model.store import ModelStore


@dataclass(frozen=True)
class ServeSettings:
    """Which model a service uses, whom it answers, and how much load it accepts.

    ``max_body`` is in bytes, durations are in seconds. Without ``model_version``, the service
    follows the current version.
    """

    model: str = "model"
    model_version: str | None = None
    models_dir: Path = Path("models")
    max_body: int = 4_000_000
    max_rows: int = 10_000
    max_in_flight: int = 1_000
    deadline: float = 10.0
    drain: float = 1.0
    reload_every: float = 1.0
    workers: Workers = 1
    api_key_file: Path | None = None
    access_log: bool = False
    health_route: str | None = None
    predict_route: str | None = None
    api_keys: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for option, route in (
            ("--predict-route", self.predict_route),
            ("--health-route", self.health_route),
        ):
            if route is not None and not re.fullmatch(r"/[^{}]*", route):
                raise SettingsError(f"{option} {route}: write it as a path, such as /v1/predict")
        # Read once, not by each worker, so that a worker started later knows the same keys.
        keys = read_keys(self.api_key_file) if self.api_key_file else ()
        object.__setattr__(self, "api_keys", keys)

    def artifact(self) -> Artifact:
        """The artifact of that model and version; raises `StoreError` or `ArtifactError`."""
        return ModelStore(self.models_dir).artifact(self.model, self.model_version)


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file, one per line; raises `SettingsError` if there are none."""
    try:
        keys = path.read_bytes().split()
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}); check --api-key-file"
        ) from error
    if not keys:
        raise SettingsError(f"{path}: holds no key; write one key per line")
    if bad := [key for key in keys if not re.fullmatch(rb"[!-~]{16,}", key)]:
        raise SettingsError(
            f"{path}: a key has {len(bad[0])} characters; write 16 or more, in ASCII: "
            "openssl rand -hex 32"
        )
    return tuple(keys)
