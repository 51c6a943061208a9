"""The store as `trivet models list` prints it."""

from __future__ import annotations

from trivet.errors import ArtifactError
from trivet.model.store import EMPTY, ModelStore


def describe(store: ModelStore) -> list[str]:
    """One line per version, marked * if current: name, version, time, task, first metric."""
    rows = [
        (
            "*" if _is_current(store, name, version) else " ",
            name,
            version,
            _facts(store, name, version),
        )
        for name in store.names()
        for version in store.versions(name)
    ]
    if not rows:
        return [f"{store.root}: {EMPTY}"]
    names, versions = (max(len(row[at]) for row in rows) for at in (1, 2))
    return [f"{row[0]} {row[1]:<{names}}  {row[2]:<{versions}}  {row[3]}" for row in rows]


def _is_current(store: ModelStore, name: str, version: str) -> bool:
    pointer = store.current(name)
    return pointer is not None and pointer.version == version


def _facts(store: ModelStore, name: str, version: str) -> str:
    try:
        manifest = store.artifact(name, version).manifest
    except ArtifactError as error:
        return f"damaged: {error}"
    target = manifest.contract.target
    metric, value = next(iter(manifest.metrics.items()))
    return f"{manifest.created:%Y-%m-%d %H:%M}Z  {target.task} of {target.name}, {metric} {value}"
