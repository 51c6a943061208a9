"""The care of a store: tags and notes on versions, and removing those that nobody needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import Field, ValidationError

from trivet.errors import ArtifactError, StoreError, did_you_mean
from trivet.files import write_anew
from trivet.model.store import STAGING, ModelStore, Pointer, checked, write_pointer
from trivet.rows.contract import Frozen

LABELS = "labels.json"


class Labels(Frozen):
    """What people wrote on versions: the version of each tag, the note of each version.

    A tag keeps its version from being pruned. Nothing is loaded by one: `--model-version` pins a
    version by its name, which nobody can move to another.
    """

    tags: dict[str, str] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)


def labels_of(store: ModelStore, name: str) -> Labels:
    """The tags and notes of a model; raises `StoreError` if they can't be read."""
    path = store.root / checked(name) / LABELS
    try:
        return Labels.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Labels()
    except (OSError, ValidationError) as error:
        raise StoreError(f"{path}: not readable tags and notes; mend or remove it") from error


def tag(store: ModelStore, name: str, label: str, version: str) -> str | None:
    """Move a tag to a version, and return the one that had it before."""
    with _changing(store, name) as labels:
        store.artifact(name, version)
        before = labels.tags.get(checked(label))
        labels.tags[label] = version
    return before


def untag(store: ModelStore, name: str, label: str) -> str:
    """Take a tag away, and return the version that had it; raises `StoreError` if none had."""
    with _changing(store, name) as labels:
        if label not in labels.tags:
            known = ", ".join(labels.tags) or "none"
            hint = did_you_mean(label, labels.tags) or f"; it has {known}"
            raise StoreError(f"{store.root}: model {name!r} has no tag {label!r}{hint}")
        return labels.tags.pop(label)


def note(store: ModelStore, name: str, version: str, text: str) -> None:
    """Write a note on a version, in place of the one before; an empty one removes that."""
    with _changing(store, name) as labels:
        store.artifact(name, version)
        labels.notes[version] = " ".join(text.split())  # the list has a line for it
        if not labels.notes[version]:
            del labels.notes[version]


def prunable(store: ModelStore, name: str, keep: int) -> list[str]:
    """The versions beyond the newest ``keep``, oldest first.

    Never the current one, the one that rollback goes to, or one with a tag. Damaged versions count
    as the oldest. Raises `StoreError` if there is no current version.
    """
    kept = {store.in_use(name), *labels_of(store, name).tags.values()}
    pointer = store.current(name)
    earlier = reversed(pointer.history if pointer else ())
    kept.add(next((each for each in earlier if store.whole(name, each)), ""))
    oldest_first = sorted(store.versions(name), key=lambda version: _created(store, name, version))
    beyond = oldest_first[: max(len(oldest_first) - keep, 0)]
    return [version for version in beyond if version not in kept]


def prune(store: ModelStore, name: str, keep: int) -> list[str]:
    """Remove the `prunable` versions, each at once, and return them."""
    with store.locked(name) as home:
        removed, pointer = prunable(store, name, keep), store.current(name)
        if pointer:  # or rollback would name each that it passes over
            earlier = tuple(each for each in pointer.history if each not in removed)
            write_pointer(home, Pointer(version=pointer.version, history=earlier))
        for version in removed:
            path = home / version
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path.rename(home / f"{STAGING}{version}"))
    return removed


def _created(store: ModelStore, name: str, version: str) -> datetime:
    try:
        return store.artifact(name, version).manifest.created
    except ArtifactError:
        return datetime.min.replace(tzinfo=UTC)


@contextmanager
def _changing(store: ModelStore, name: str) -> Iterator[Labels]:
    with store.locked(name) as home:
        labels = labels_of(store, name)
        yield labels
        write_anew(home / LABELS, labels.model_dump_json(indent=1).encode() + b"\n")
