"""Where a run keeps what it has done, beside its output, until all of it is: then one rename.

A run that was killed leaves this folder; one with ``--resume`` goes on from it.
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

PLAN, LOCK, SHARDS, SPOOL = "plan.json", "lock", "output", "stdin"


class Plan(Frozen):
    """All that the result of a run depends on. Only a run with the same plan can go on with it."""

    model: str
    model_version: str
    inputs: tuple[tuple[str, int, str], ...]
    options: dict[str, JsonValue]

    def difference(self, other: Plan) -> str:
        """What another plan has that this one has not."""
        if self.model_version != other.model_version or self.model != other.model:
            return f"the model was {other.model} {other.model_version} (choose --model-version)"
        if self.inputs != other.inputs:
            return "the input has changed since"
        return f"its options were {other.options}"


@contextmanager
def staging_for(address: str, name: str) -> Iterator[Folder]:
    """The folder of runs to an output, held by this one; raises `BatchError` where another has it.

    Object stores have no locks: there, nothing keeps two runs apart.
    """
    parent, _, last = address.rpartition("/")
    folder = Folder(f"{parent}/.{last}.run")
    with ExitStack() as stack:
        with writing_to(name):
            folder.create()
            held = not folder.is_local or stack.enter_context(_locked(Path(folder.path(LOCK))))
        if not held:
            raise BatchError(f"{name}: another run is writing it; wait for that one, or end it")
        try:
            yield folder
        finally:
            if set(folder.names()) <= {LOCK, SPOOL}:  # nothing to go on with
                folder.remove()


def begin(folder: Folder, plan: Plan, resume: bool) -> None:
    """Make a folder ready for a plan.

    What a previous run has left is removed, or kept with ``resume``: then, raises `BatchError` if
    it was another plan's.
    """
    shards, content = Folder(f"{folder.address}/{SHARDS}"), folder.read(PLAN)
    if content is not None and resume:
        try:
            before = Plan.model_validate_json(content)
        except ValidationError:
            before = None
        if before == plan:
            shards.create()
            return
        reason = plan.difference(before) if before else "its plan can't be read"
        raise BatchError(
            f"the previous run cannot be resumed: {reason}; leave out --resume to start over"
        )
    clear(folder)
    shards.create()
    with folder.writing(PLAN) as stream:
        stream.write(plan.model_dump_json().encode())


def clear(folder: Folder) -> None:
    """Remove what runs have left, but the lock, and what this one has read."""
    for name in folder.names():
        if name not in (LOCK, SPOOL):
            folder.remove(name)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock; it is let go of at the end, or when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # A run that ended just now may have removed the file after it was opened here.
        yield path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
