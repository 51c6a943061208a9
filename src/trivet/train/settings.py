"""What a training run is told, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from trivet.artifact import Manifest
from trivet.contract import Kind, Task


@dataclass(frozen=True)
class TrainSettings:
    """Settings of one training run; those in `shaping` decide what model comes out."""

    data: Path
    target: str
    identifiers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    nullable: tuple[str, ...] = ()
    task: Task | None = None
    estimator: str = "hist_gradient_boosting"
    params: Mapping[str, JsonValue] = field(default_factory=dict)
    held_out: float = 0.2
    seed: int = 0
    model: str = "model"
    models_dir: Path = Path("models")
    promote: bool = True
    force: bool = False

    def shaping(self) -> dict[str, JsonValue]:
        """The settings that shape the model, as JSON: not where it is read from or goes to."""
        return {
            "target": self.target,
            "identifiers": [*sorted(self.identifiers)],
            "exclude": [*sorted(self.exclude)],
            "time_column": self.time_column,
            "kinds": dict(sorted(self.kinds.items())),
            "nullable": [*sorted(self.nullable)],
            "task": self.task,
            "estimator": self.estimator,
            "params": dict(sorted(self.params.items())),
            "held_out": self.held_out,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class TrainResult:
    """The version that the settings lead to, whether this run made it, and the current version."""

    manifest: Manifest
    trained: bool
    current: str | None
