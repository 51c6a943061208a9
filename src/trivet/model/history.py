"""The history of a model: one line for each time that another version was made current.

Lines are only ever added. The line is on the disk before the pointer moves, so no promotion goes
unrecorded; one that a kill prevented shows in that the next line does not begin where it ended.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from trivet.files import open_to_write
from trivet.rows.contract import Frozen

HISTORY = "history.jsonl"
#: Who promotes: a training run, the gate between training and promotion, or a person.
By = Literal["train", "gate", "hand"]


class Promotion(Frozen):
    """One promotion; ``before`` is None if no version was current. ``why`` may be empty."""

    when: datetime
    before: str | None
    version: str
    by: By
    why: str


def record(home: Path, before: str | None, version: str, by: By, why: str) -> None:
    """Add a promotion of now; the caller holds the lock of the model's directory."""
    now = datetime.now(UTC).replace(microsecond=0)
    made = Promotion(when=now, before=before, version=version, by=by, why=why)
    with open_to_write(home / HISTORY, "a+b") as file:
        file.seek(max(file.tell() - 1, 0))
        unfinished = file.read() not in (b"", b"\n")  # by a process that was killed, a full disk
        file.write(b"\n" * unfinished + made.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(home: Path) -> list[Promotion]:
    """All promotions, oldest first. A line that was left unfinished is passed over."""
    path, promotions = home / HISTORY, []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            promotions.append(Promotion.model_validate_json(line))
        except ValidationError:
            continue
    return promotions
