"""Publish, promote, roll back; and what a killed process leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trivet.cli.listing import describe
from trivet.errors import ArtifactError, StoreError
from trivet.model.artifact import Artifact, Draft
from trivet.model.store import ModelStore, Pointer

NAMES = ("model.joblib", "pipeline.py", "golden.json", "report.md")
CONTENTS = dict.fromkeys(NAMES, b"content")


@pytest.fixture
def store(flights: Artifact, tmp_path: Path) -> ModelStore:
    """A store with the versions a, b and c of one model, published in this order."""
    store = ModelStore(tmp_path)
    for version in "abc":
        assert publish(store, version, flights)
    return store


def publish(store: ModelStore, version: str, like: Artifact) -> bool:
    manifest = like.manifest.model_copy(update={"name": "m", "version": version})
    draft = Draft(manifest, CONTENTS)
    return store.publish("m", version, draft.write)


def test_current_follows_promote_and_rollback(store: ModelStore) -> None:
    assert store.current("m") == Pointer(version="c", history=("a", "b"))
    assert store.rollback("m") == "b"
    assert store.rollback("m") == "a"
    with pytest.raises(StoreError, match="no earlier version"):
        store.rollback("m")
    store.promote("m", "c")
    store.promote("m", "c")
    assert store.current("m") == Pointer(version="c", history=("a",))


def test_one_version_or_the_current_one(store: ModelStore) -> None:
    assert store.artifact("m").manifest.version == "c"
    assert store.artifact("m", "a").manifest.version == "a"


def test_a_model_that_is_not_there_leaves_no_trace(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="train one first"):
        ModelStore(tmp_path).rollback("typo")
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_named(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no version 'd'; it has a, b, c"):
        store.artifact("m", "d")
    with pytest.raises(StoreError, match="no version 'd'"):
        store.promote("m", "d")
    with pytest.raises(StoreError, match="no model 'mm' in this store; did you mean 'm'"):
        store.artifact("mm")
    with pytest.raises(StoreError, match="train one first"):
        ModelStore(tmp_path / "nowhere").artifact("m")


def test_a_version_is_never_replaced(store: ModelStore, flights: Artifact) -> None:
    before = (store.root / "m/a/manifest.json").read_bytes()
    assert not publish(store, "a", flights)
    assert (store.root / "m/a/manifest.json").read_bytes() == before


def test_a_failed_publish_leaves_no_version_and_the_next_one_clears_it(
    store: ModelStore, flights: Artifact
) -> None:
    def fail(path: Path) -> None:
        (path / "half").write_text("half a model")
        raise OSError("the disk is full")

    with pytest.raises(StoreError, match=r"can't be written to \(the disk is full\)"):
        store.publish("m", "d", fail)
    assert store.versions("m") == ["a", "b", "c"]
    assert store.current("m") == Pointer(version="c", history=("a", "b"))
    publish(store, "d", flights)
    assert store.versions("m") == ["a", "b", "c", "d"]
    assert not list((store.root / "m").glob(".staging-*"))


def test_a_damaged_version_is_not_promoted(store: ModelStore) -> None:
    (store.root / "m/a/model.joblib").write_bytes(b"")
    with pytest.raises(ArtifactError, match="SHA-256"):
        store.promote("m", "a")
    assert store.artifact("m").manifest.version == "c"


def test_a_broken_pointer_is_named_and_promote_mends_it(store: ModelStore) -> None:
    (store.root / "m/current").write_text("")
    with pytest.raises(StoreError, match="trivet models promote --model m"):
        store.artifact("m")
    store.promote("m", "b")
    assert store.artifact("m").manifest.version == "b"


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "-x"])
def test_a_name_that_cannot_be_a_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="can't name a model"):
        ModelStore(tmp_path).artifact(name)


def test_reading_takes_no_lock(store: ModelStore) -> None:
    (store.root / "m/.lock").unlink()
    assert store.artifact("m").manifest.version == "c"
    assert store.names() == ["m"]
    assert not (store.root / "m/.lock").exists()


@pytest.mark.parametrize("moment", ["rename", "replace"])
def test_a_kill_at_the_worst_moment_leaves_whole_versions(
    store: ModelStore, flights: Artifact, moment: str
) -> None:
    """The process ends by itself just before a version appears, or before the pointer moves."""
    code = f"""
import os
from pathlib import Path
from trivet.model.artifact import Artifact, Draft
from trivet.model.store import ModelStore
like = Artifact.open(Path({str(flights.path)!r}))
manifest = like.manifest.model_copy(update={{"name": "m", "version": "d"}})
Path.{moment} = lambda *_: os._exit(9)
draft = Draft(manifest, {CONTENTS!r})
ModelStore(Path({str(store.root)!r})).publish("m", "d", draft.write)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == 9
    assert store.versions("m") == ["a", "b", "c", *(["d"] if moment == "replace" else [])]
    assert store.current("m") == Pointer(version="c", history=("a", "b"))
    for version in store.versions("m"):
        store.artifact("m", version).verify_files()
    assert publish(store, "e", flights)
    assert store.artifact("m").manifest.version == "e"


def test_a_store_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, where a directory belongs")
    with pytest.raises(StoreError, match="can't be written to"):
        ModelStore(tmp_path / "models").publish("m", "a", Path.touch)


def test_the_list_marks_current_and_damaged_versions(store: ModelStore) -> None:
    (store.root / "m/a/manifest.json").write_text("{}")
    a, b, c = describe(store)
    assert a.startswith("  m  a  damaged")
    assert b.startswith("  m  b  ")
    assert c.startswith("* m  c  ")
    assert "classification of late, roc_auc 0." in c
