"""The store as `trivet models list` prints it."""

from __future__ import annotations

from trivet.errors import StoreError, TrivetError
from trivet.model.care import Labels, labels_of
from trivet.model.history import Promotion
from trivet.model.store import EMPTY, ModelStore

#: How times are printed, in UTC.
MINUTE = "%Y-%m-%d %H:%MZ"


def describe(store: ModelStore, only: str | None = None) -> list[str]:
    """One line per version, marked * if current: name, version, time, task, first metric, labels.

    A model without a current version, or whose tags can't be read, has a line more, marked !.
    Raises `StoreError` if there is no model ``only``.
    """
    found = store.names()
    if only is not None and only not in found:
        raise store.absent(only)
    rows, notes = [], []
    for name in found if only is None else [only]:
        current, labels = "", Labels()
        try:
            labels = labels_of(store, name)
            current = store.in_use(name)
        except StoreError as error:
            notes.append(f"! {error}")
        for version in store.versions(name):
            mark = "*" if version == current else " "
            tags = [f"[{tag}]" for tag in sorted(labels.tags) if labels.tags[tag] == version]
            said = [_facts(store, name, version), *tags, labels.notes.get(version, "")]
            rows.append((mark, name, version, "  ".join(filter(None, said))))
    if not rows:
        return [f"{store.root}: {EMPTY}"]
    names, versions = (max(len(row[at]) for row in rows) for at in (1, 2))
    lines = [f"{row[0]} {row[1]:<{names}}  {row[2]:<{versions}}  {row[3]}" for row in rows]
    return lines + notes


def tell(promotion: Promotion) -> str:
    """A promotion as one line: time, the versions before and after, by what, and why."""
    why = " ".join(promotion.why.split())  # a reason may have been given in several lines
    versions = f"{promotion.before or '-'} -> {promotion.version}"
    return f"{promotion.when:{MINUTE}}  {versions}  by {promotion.by}" + (f": {why}" if why else "")


def _facts(store: ModelStore, name: str, version: str) -> str:
    try:
        manifest = store.artifact(name, version).manifest
    except TrivetError as error:
        return f"damaged: {error}"
    target = manifest.contract.target
    metric, value = next(iter(manifest.metrics.items()))
    return f"{manifest.created:{MINUTE}}  {target.task} of {target.name}, {metric} {value}"
