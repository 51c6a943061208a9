"""What a batch run is told."""

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
        """The limit that a text stands for: ``100``, or ``1%``; raises `ValueError`."""
        is_share = text.endswith("%")
        number = float(text[:-1]) / 100 if is_share else int(text)
        if not 0 <= number <= (1 if is_share else number):
            raise ValueError(text)
        return cls(number, is_share)

    def __str__(self) -> str:
        """The text that stands for this limit."""
        return f"{self.number * 100:g}%" if self.is_share else str(self.number)

    def allows(self, rejected: int, rows: int) -> bool:
        """Whether so many of the rows may be rejected."""
        return rejected <= (self.number * rows if self.is_share else self.number)


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
    delimiter: str = ","
    columns: tuple[str, ...] | None = None
    max_rejected: MaxRejected = MaxRejected(0.01, is_share=True)
    resume: bool = False
    chunk_rows: int | None = None
    workers: Workers = "auto"
    cluster: str | None = None
