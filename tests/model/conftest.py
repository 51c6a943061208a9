"""A store of small versions, for the tests of what is done to it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from trivet.model.artifact import Artifact, Draft
from trivet.model.store import ModelStore

NAMES = ("model.joblib", "pipeline.py", "golden.json", "report.md")
CONTENTS = dict.fromkeys(NAMES, b"content")


@pytest.fixture
def store(flights: Artifact, tmp_path: Path) -> ModelStore:
    """A store with the versions a, b and c of one model, published in this order."""
    store = ModelStore(tmp_path)
    for version in "abc":
        assert publish(store, version, flights)
    return store


def publish(
    store: ModelStore, version: str, like: Artifact, promote: bool = True, hours: int = 0
) -> bool:
    created = like.manifest.created + timedelta(hours=hours)
    changes = {"name": "m", "version": version, "created": created}
    manifest = like.manifest.model_copy(update=changes)
    draft = Draft(manifest, CONTENTS)
    return store.publish("m", version, draft.write, promote)
