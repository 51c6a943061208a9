"""The settings of a batch run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trivet.cpus import Workers
from trivet.rows.rejects import ONE_PERCENT, MaxRejected


@dataclass(frozen=True)
class BatchSettings:
    """Settings of one batch run; ``input`` and ``output`` are paths, addresses, or ``-`` for stdio.

    ``columns`` are copied to the output; by default, all that are not features are.
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
    workers: Workers = "auto"
    cluster: str | None = None
