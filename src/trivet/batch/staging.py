"""The staging folder, next to the output: it holds the parts that are done until all are.

A run that was killed leaves it behind, and ``--resume`` continues from it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import JsonValue, ValidationError

from trivet.batch.folder import Folder, writing_to
from trivet.errors import BatchError
from trivet.rows.contract import Frozen

PLAN, LOCK, WORKERS, SHARDS, SPOOL = "plan.json", "lock", "workers", "output", "stdin"


class Plan(Frozen):
    """All that the result of a run depends on. A run can resume only one with the same plan."""

    model: str
    inputs: tuple[tuple[str, int, str], ...]
    options: dict[str, JsonValue]

    def difference(self, previous: Plan) -> str:
        """How the plan of the previous run differs from this one."""
        if self.model != previous.model:
            return f"the model was {previous.model} (choose --model-version)"
        if self.inputs != previous.inputs:
            return "the input has changed since"
        return f"its options were {previous.options}"


@contextmanager
def staging_for(address: str, name: str) -> Iterator[Folder]:
    """The staging folder of an output, locked; raises `BatchError` if another run has the lock.

    Object stores have no locks: there, two runs are not kept apart.
    """
    parent, _, last = address.rpartition("/")
    folder = Folder(f"{parent}/.{last}.run")
    with ExitStack() as stack:
        with writing_to(name):
            folder.create()
            if folder.is_local and not stack.enter_context(_locked(Path(folder.path(LOCK)))):
                raise BatchError(f"{name}: another run is writing it; wait for that one, or end it")
            if WORKERS in folder.names():
                _wait_for_workers(Path(folder.path(WORKERS)))
        try:
            yield folder
        finally:
            if set(folder.names()) <= {LOCK, SPOOL}:  # nothing to resume
                folder.remove()


def begin(folder: Folder, plan: Plan, resume: bool) -> None:
    """Make a staging folder ready for a plan.

    What a previous run has left is removed, unless ``resume`` is set. Then it stays, and a
    `BatchError` is raised if that run had another plan.
    """
    content = folder.read(PLAN)
    if content is not None and resume:
        try:
            previous = Plan.model_validate_json(content)
        except ValidationError:
            previous = None
        if previous == plan:
            return
        reason = plan.difference(previous) if previous else "its plan can't be read"
        raise BatchError(
            f"the previous run cannot be resumed: {reason}; leave out --resume to start over"
        )
    for name in folder.names():
        if name not in (LOCK, SPOOL):
            folder.remove(name)
    with folder.writing(PLAN) as stream:
        stream.write(plan.model_dump_json().encode())


def _wait_for_workers(path: Path) -> None:
    """Wait until the workers of a run that was killed have ended: they still write here."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock, which ends with the block, or with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # A run that has just ended may have removed the file after it was opened here.
        yield path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
