"""Tags, notes, and what is removed of a store."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.model.conftest import publish
from trivet.cli.listing import describe
from trivet.errors import StoreError
from trivet.model import care
from trivet.model.artifact import Artifact
from trivet.model.store import ModelStore


def test_prune_keeps_the_newest_and_what_is_in_use(store: ModelStore, flights: Artifact) -> None:
    for number, version in enumerate("abcdefg"):
        shutil.rmtree(store.root / "m" / version, ignore_errors=True)
        publish(store, version, flights, hours=number)
    store.promote("m", "b")
    store.promote("m", "c")
    care.tag(store, "m", "approved", "d")
    assert care.prunable(store, "m", 2) == ["a", "e"]
    assert care.prunable(store, "m", 0) == ["a", "e", "f", "g"]
    assert care.prunable(store, "m", 9) == []
    assert store.versions("m") == [*"abcdefg"]
    assert care.prune(store, "m", 2) == ["a", "e"]
    assert store.versions("m") == [*"bcdfg"]
    passed: list[object] = []
    assert store.rollback("m", passed.append) == "b"
    assert not passed, "what was pruned is no longer looked for"


def test_prune_keeps_what_rollback_goes_to(store: ModelStore) -> None:
    (store.root / "m/b/report.md").write_text("damaged")
    assert care.prune(store, "m", 0) == ["b"]
    assert store.rollback("m") == "a"


def test_prune_takes_damaged_versions_for_the_oldest(store: ModelStore) -> None:
    store.promote("m", "b")
    store.promote("m", "a")
    (store.root / "m/c/manifest.json").write_text("{}")
    assert care.prunable(store, "m", 2) == ["c"]


@pytest.mark.parametrize("damage", ["current", "labels.json"])
def test_prune_removes_nothing_where_it_cannot_know_what_is_in_use(
    store: ModelStore, damage: str
) -> None:
    (store.root / "m" / damage).write_text("{")
    with pytest.raises(StoreError, match=f"{damage}: not"):
        care.prune(store, "m", 0)
    assert store.versions("m") == ["a", "b", "c"]
    with pytest.raises(StoreError, match="train one first"):
        care.prune(ModelStore(store.root / "nowhere"), "m", 0)


def test_prune_removes_a_link_and_not_what_it_leads_to(store: ModelStore) -> None:
    elsewhere = (store.root / "m/a").rename(store.root / "a")
    (store.root / "m/a").symlink_to(elsewhere)
    store.promote("m", "b")
    store.promote("m", "c")
    assert care.prune(store, "m", 0) == ["a"]
    assert store.versions("m") == ["b", "c"]
    assert (elsewhere / "manifest.json").exists()


def test_a_kill_while_pruning_leaves_whole_versions(store: ModelStore, flights: Artifact) -> None:
    store.promote("m", "b")
    store.promote("m", "a")
    code = f"""
import os, shutil
from trivet.model import care
from trivet.model.store import ModelStore
shutil.rmtree = lambda *_: os._exit(9)
care.prune(ModelStore({str(store.root)!r}), "m", 0)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert store.versions("m") == ["a", "b"]
    assert publish(store, "c", flights)
    assert not list((store.root / "m").glob(".staging-*"))


def test_a_tag_is_on_one_version_and_moves(store: ModelStore) -> None:
    assert care.tag(store, "m", "prod", "a") is None
    assert care.tag(store, "m", "prod", "b") == "a"
    assert care.tag(store, "m", "old", "a") is None
    assert care.untag(store, "m", "old") == "a"
    care.note(store, "m", "b", "approved\n by the risk board")
    assert care.labels_of(store, "m") == care.Labels(
        tags={"prod": "b"}, notes={"b": "approved by the risk board"}
    )
    with pytest.raises(StoreError, match="no tag 'prd'; did you mean 'prod'"):
        care.untag(store, "m", "prd")
    with pytest.raises(StoreError, match="no version 'z'"):
        care.tag(store, "m", "prod", "z")
    with pytest.raises(StoreError, match="no version 'z'"):
        care.note(store, "m", "z", "?")
    _, line, _ = describe(store)
    assert line.endswith("  [prod]  approved by the risk board")
    care.note(store, "m", "b", "")
    assert care.labels_of(store, "m") == care.Labels(tags={"prod": "b"})


def test_tags_that_cannot_be_read_hide_no_model(store: ModelStore) -> None:
    (store.root / "m/labels.json").write_text("{")
    *versions, trouble = describe(store)
    assert len(versions) == 3
    assert trouble.startswith(f"! {store.root}/m/labels.json: not readable tags and notes")
