"""The settings of a batch run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trivet.cpus import Workers
from trivet.errors import require_list, require_number, require_path
from trivet.model.store import DEFAULT_DIRECTORY, DEFAULT_MODEL
from trivet.model.trust import Trust
from trivet.rows.rejects import ONE_PERCENT, MaxRejected


@dataclass(frozen=True)
class BatchSettings:
    """Settings of one batch run; ``input`` and ``output`` are paths, addresses, or ``-`` for stdio.

    ``columns`` are copied to the output; by default, all that are not features are. With
    ``verify_key``, the file of a public key, only a model that it signed is used, and with
    ``no_pickle`` only a compiled one. Raises `SettingsError` for one that cannot be used.
    """

    input: str | Path
    output: str | Path
    model: str = DEFAULT_MODEL
    model_version: str | None = None
    models_dir: str | Path = DEFAULT_DIRECTORY
    verify_key: str | Path | None = None
    no_pickle: bool = False
    delimiter: str | None = None
    columns: tuple[str, ...] | list[str] | None = None
    max_rejected: MaxRejected | str | int = ONE_PERCENT
    resume: bool = False
    chunk_rows: int | None = None
    workers: Workers = "auto"
    cluster: str | None = None

    def __post_init__(self) -> None:
        require_path("input", self.input)
        require_path("output", self.output)
        require_list("columns", self.columns)
        require_number("chunk_rows", self.chunk_rows)
        require_number("workers", self.workers, auto=True)
        _ = self.limit, self.trust

    @property
    def limit(self) -> MaxRejected:
        """How many rows may be rejected; raises `SettingsError`."""
        return MaxRejected.of(self.max_rejected)

    @cached_property
    def trust(self) -> Trust:
        """What is asked of the model. The key is read once, for all processes of this one."""
        return Trust.of(self.verify_key, self.no_pickle)
