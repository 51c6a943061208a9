"""What a batch run is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trivet.rows.rejects import ONE_PERCENT, MaxRejected


@dataclass(frozen=True)
class BatchSettings:
    """What a batch run is told. ``input`` and ``output`` are paths or addresses, ``-`` for stdio.

    ``columns`` are carried along, by default all that are no features.
    """

    input: str
    output: str
    model: str = "model"
    model_version: str | None = None
    models_dir: Path = Path("models")
    delimiter: str | None = None
    columns: tuple[str, ...] | None = None
    max_rejected: MaxRejected = ONE_PERCENT
    resume: bool = False
    chunk_rows: int | None = None
    workers: int = 1
    cluster: str | None = None
