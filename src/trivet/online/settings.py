"""The settings of a service."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from trivet.cpus import Workers
from trivet.errors import SettingsError, require_number, require_seconds
from trivet.model.store import DEFAULT_DIRECTORY, DEFAULT_MODEL
from trivet.model.trust import Trust

KEY = re.compile(rb"[!-~]{16,}")
#: Paths that have a meaning: any that begins as these do, those of health, and of predictions.
TAKEN = re.compile(r"/(docs|openapi\.json|metrics|model|v1/models|v2)?(/.*)?")
HEALTH = re.compile(r"/health(/live|/ready)?|/ping")
PREDICTIONS = re.compile(r"/predict|/invocations")
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class ServeSettings:
    """Which model a service answers with, who may ask, and its limits.

    Sizes are in bytes, times in seconds. ``model_version`` pins a version; without it the service
    follows the store's pointer. With ``verify_key``, the file of a public key, it answers only with
    what that key signed, and with ``no_pickle`` only with compiled models. Without ``api_keys`` and
    without the keys of ``api_key_file``, which is read again when it changes, anyone may ask.
    ``root_path`` is the prefix that callers see, if a proxy adds one; pages of ``cors_origins`` may
    ask from a browser. Raises `SettingsError` for a value out of its range, for a key that is too
    short to be one, and for a route that is not a path, or is that of something else.
    """

    model: str = DEFAULT_MODEL
    model_version: str | None = None
    models_dir: str | Path = DEFAULT_DIRECTORY
    verify_key: str | Path | None = None
    no_pickle: bool = False
    max_body: int = 4_000_000
    max_rows: int = 10_000
    max_in_flight: int = 1_000
    deadline: float = 10.0
    drain: float = 1.0
    reload_every: float = 1.0
    workers: Workers = 1
    api_keys: tuple[bytes, ...] | list[bytes] = field(default=(), repr=False)
    api_key_file: str | Path | None = None
    access_log: bool = False
    health_route: str | None = None
    predict_route: str | None = None
    root_path: str = ""
    cors_origins: tuple[str, ...] | list[str] = ()

    def __post_init__(self) -> None:
        require_number("max_body", self.max_body)
        require_number("max_rows", self.max_rows)
        require_number("max_in_flight", self.max_in_flight, least=0)
        require_number("workers", self.workers, auto=True)
        require_seconds("deadline", self.deadline, least=0.1)
        require_seconds("drain", self.drain)
        require_seconds("reload_every", self.reload_every)
        if not all(isinstance(key, bytes) and KEY.fullmatch(key) for key in self.api_keys):
            raise SettingsError(
                "api_keys is a list of bytes, 16 or more ASCII characters each: "
                "openssl rand -hex 32"
            )
        _ = self.trust
        _require_free("--predict-route", self.predict_route, HEALTH)
        _require_free("--health-route", self.health_route, PREDICTIONS)
        if not re.fullmatch(r"(/[^/{}?#]+)*", self.root_path):
            raise SettingsError(f"--root-path {self.root_path}: write it as /models/flights")
        for origin in self.cors_origins:
            if not re.fullmatch(r"\*|[a-z][a-z0-9+.-]*://[^/\sA-Z]+", origin):
                raise SettingsError(
                    f"--cors-origin {origin}: write it as a browser does, such as "
                    "https://app.example.com, or * for any"
                )

    @cached_property
    def trust(self) -> Trust:
        """What is asked of a model. The key is read once, for all processes of this one."""
        return Trust.of(self.verify_key, self.no_pickle)


@dataclass(frozen=True)
class ListenSettings(ServeSettings):
    """Settings of a service, and the address that it listens on; port 0: the system chooses one.

    With ``tls_cert`` and ``tls_key``, files in PEM, it listens for HTTPS.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_head: int = 32_768
    idle_timeout: float = 75.0
    hang_timeout: float = 30.0
    tls_cert: str | Path | None = None
    tls_key: str | Path | None = None
    log_level: LogLevel = "info"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("max_head", self.max_head)
        require_seconds("idle_timeout", self.idle_timeout, least=0.1)
        require_seconds("hang_timeout", self.hang_timeout, least=1)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key belong together; give both, or none")
        if self.log_level not in get_args(LogLevel):
            raise SettingsError(
                f"log_level={self.log_level!r}: use {', '.join(get_args(LogLevel))}"
            )


def _require_free(option: str, route: str | None, others: re.Pattern[str]) -> None:
    """Raise `SettingsError` unless a route is a path that has no other meaning.

    One path may be that of predictions and of health: they differ by POST and GET.
    """
    if route is None:
        return
    if not re.fullmatch(r"/[^{}?#]*", route):
        raise SettingsError(f"{option} {route}: write it as a path, such as /v1/predict")
    if TAKEN.fullmatch(route) or others.fullmatch(route):
        raise SettingsError(f"{option} {route}: this path is taken; choose another")
