"""The settings of a batch run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trivet.cpus import Workers


@dataclass(frozen=True)
class MaxRejected:
    """How many rows may be rejected: a number, or a share of all rows, from 0 to 1."""

    number: float
    is_share: bool = False

    @classmethod
    def parse(cls, text: str) -> MaxRejected:
        """The limit written as ``100`` or ``1%``; raises `ValueError`."""
        is_share = text.endswith("%")
        number = float(text[:-1]) / 100 if is_share else int(text)
        if not 0 <= number <= (1 if is_share else number):
            raise ValueError(text)
        return cls(number, is_share)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.number * 100:g}%" if self.is_share else str(self.number)

    def allows(self, rejected: int, rows: int) -> bool:
        """Whether this many of the rows may be rejected."""
        return rejected <= (self.number * rows if self.is_share else self.number)


@dataclass(frozen=True)
class BatchSettings:
    """Settings of one batch run; ``input`` and ``output`` are paths, addresses, or ``-`` for stdio.

    ``columns`` are copied to the output, by default all that are not features.
    """

    input: str
    output: str
    model: str = "model"
    model_version: str | None = None
    models_dir: Path = Path("models")
    delimiter: str = ","
    columns: tuple[str, ...] | None = None
    max_rejected: MaxRejected = MaxRejected(0.01, is_share=True)
    resume: bool = False
    chunk_rows: int | None = None
    workers: Workers = "auto"
    cluster: str | None = None
