"""Publish, promote, roll back; and what a killed process leaves behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.model.conftest import CONTENTS, publish
from trivet.cli.listing import describe
from trivet.errors import ArtifactError, StoreError
from trivet.model import care
from trivet.model.artifact import Artifact
from trivet.model.store import REMEMBERED, ModelStore, Pointer


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


def test_a_failed_publish_leaves_nothing(store: ModelStore, flights: Artifact) -> None:
    def fail(path: Path) -> None:
        (path / "half").write_text("half a model")
        raise KeyboardInterrupt

    before = sorted(store.root.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        store.publish("m", "d", fail)
    assert sorted(store.root.rglob("*")) == before
    assert store.current("m") == Pointer(version="c", history=("a", "b"))
    publish(store, "d", flights)
    assert store.versions("m") == ["a", "b", "c", "d"]


def test_a_full_disk_leaves_nothing_half_written(flights: Artifact, small_disk: Path) -> None:
    store = ModelStore(small_disk)
    for version in "ab":
        publish(store, version, flights)
    before = sorted(small_disk.rglob("*"))

    def write(path: Path) -> None:
        (path / "half").write_bytes(bytes(2**21))

    with pytest.raises(StoreError, match=r"can't be written to \(No space left on device\)"):
        store.publish("m", "c", write)
    assert sorted(small_disk.rglob("*")) == before
    with suppress(OSError):
        (small_disk / "other").write_bytes(bytes(2**20))
    with pytest.raises(StoreError, match=r"can't be written to \(No space left on device\)"):
        store.promote("m", "a")
    (small_disk / "other").unlink()
    assert sorted(small_disk.rglob("*")) == before
    assert store.current("m") == Pointer(version="b", history=("a",))


def test_a_damaged_version_is_not_promoted(store: ModelStore) -> None:
    (store.root / "m/a/model.joblib").write_bytes(b"")
    with pytest.raises(ArtifactError, match="SHA-256"):
        store.promote("m", "a")
    assert store.artifact("m").manifest.version == "c"


def test_rollback_passes_over_what_is_damaged_or_gone(store: ModelStore, flights: Artifact) -> None:
    publish(store, "d", flights)
    (store.root / "m/c/model.joblib").write_bytes(b"")
    shutil.rmtree(store.root / "m/b")
    passed: list[str] = []
    assert store.rollback("m", lambda error: passed.append(str(error))) == "a"
    assert "m/c/model.joblib: its SHA-256" in passed[0]
    assert "no version 'b'; it has a, c, d" in passed[1]
    assert store.current("m") == Pointer(version="a")
    publish(store, "e", flights)
    (store.root / "m/a/manifest.json").unlink()
    with pytest.raises(StoreError, match=r"no earlier version.*trivet models promote --model m"):
        store.rollback("m")
    assert store.in_use("m") == "e"


def test_rollback_leaves_a_current_version_that_is_gone(store: ModelStore) -> None:
    shutil.rmtree(store.root / "m/c")
    with pytest.raises(StoreError, match=r"'m' lost its current version c; .*; it has a, b"):
        store.artifact("m")
    assert store.rollback("m") == "b"


def test_a_lost_pointer_is_no_lost_model(store: ModelStore) -> None:
    (store.root / "m/current").unlink()
    message = r"model 'm' has none current; choose a version .*promote --model m .*it has a, b, c"
    with pytest.raises(StoreError, match=message):
        store.artifact("m")
    with pytest.raises(StoreError, match=message):
        store.rollback("m")


def test_the_history_has_a_bound(store: ModelStore) -> None:
    for _ in range(REMEMBERED):
        store.promote("m", "a")
        store.promote("m", "b")
    pointer = store.current("m")
    assert pointer
    assert pointer.history == ("b", "a") * (REMEMBERED // 2)


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_a_version_without_a_proper_name_is_refused(store: ModelStore, name: str) -> None:
    before = (store.root / "m/current").read_bytes()
    with pytest.raises(StoreError, match="can't name a model or version"):
        store.artifact("m", name)
    with pytest.raises(StoreError, match="can't name a model or version"):
        store.promote("m", name)
    assert (store.root / "m/current").read_bytes() == before
    (store.root / "m/current").write_text(json.dumps({"version": name}))
    with pytest.raises(StoreError, match="not a readable pointer"):
        store.artifact("m")


@pytest.mark.parametrize("place", ["m/x", "n/a", "n/x"])
def test_a_version_is_used_under_its_own_name_alone(store: ModelStore, place: str) -> None:
    shutil.copytree(store.root / "m/a", store.root / place)
    name, version = place.split("/")
    message = (
        f"{place}: holds version a of model m, so it is not used under this name; "
        f"move it to {store.root}/m/a, or remove it"
    )
    with pytest.raises(ArtifactError, match=message):
        store.artifact(name, version)
    with pytest.raises(ArtifactError, match=message):
        store.promote(name, version)
    assert any(message in line for line in describe(store, name))


def test_a_version_may_be_copied_to_another_store(store: ModelStore, tmp_path: Path) -> None:
    shutil.copytree(store.root / "m/a", tmp_path / "other/m/a")
    other = ModelStore(tmp_path / "other")
    other.promote("m", "a")
    assert other.artifact("m").manifest == store.artifact("m", "a").manifest


@pytest.mark.parametrize("content", ["", '{"version": ""}'])
def test_a_broken_pointer_is_named_and_promote_mends_it(store: ModelStore, content: str) -> None:
    (store.root / "m/current").write_text(content)
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


def steps(store: ModelStore) -> list[tuple[str | None, str, str, str]]:
    return [(each.before, each.version, each.by, each.why) for each in store.promotions("m")]


def test_each_promotion_is_in_the_history(store: ModelStore) -> None:
    store.promote("m", "a", "as before")
    store.promote("m", "a", "nothing changes")
    store.promote("m", "b", "passed", by="gate")
    store.rollback("m")
    assert steps(store) == [
        (None, "a", "train", ""),
        ("a", "b", "train", ""),
        ("b", "c", "train", ""),
        ("c", "a", "hand", "as before"),
        ("a", "b", "gate", "passed"),
        ("b", "a", "hand", "rolled back"),
    ]


def test_a_line_that_was_cut_short_costs_no_other(store: ModelStore) -> None:
    before = steps(store)
    with (store.root / "m/history.jsonl").open("a") as file:
        file.write('{"when":"2026-')
    assert steps(store) == before
    store.promote("m", "a")
    assert steps(store) == [*before, ("c", "a", "hand", "")]


PROMOTE = """
import sys
from trivet.model.store import ModelStore
store = ModelStore(sys.argv[1])
for _ in range(int(sys.argv[2])):
    for version in sys.argv[3]:
        store.promote("m", version)
"""


def promoting(store: ModelStore, times: int, versions: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROMOTE, store.root, str(times), versions])


def test_promotions_at_once_are_all_in_the_history_and_follow_each_other(store: ModelStore) -> None:
    for process in [promoting(store, 30, "ab"), promoting(store, 30, "bc")]:
        assert process.wait() == 0
    done = steps(store)
    assert len(done) > 60
    assert all(after[0] == before[1] for before, after in pairwise(done))
    assert done[-1][1] == store.in_use("m")


@pytest.mark.slow
def test_a_kill_during_promotions_leaves_the_history_readable(store: ModelStore) -> None:
    for wait in range(8):
        (store.root / "m/history.jsonl").unlink()
        process = promoting(store, 10_000, "abc")
        wait_until(lambda: (store.root / "m/history.jsonl").exists())
        time.sleep(wait / 100)
        process.kill()
        process.wait()
        current, done = store.in_use("m"), steps(store)
        assert current in done[-1][:2], "the last one was made, or the kill prevented it"
        store.promote("m", "b" if current == "a" else "a")
        assert steps(store)[: len(done)] == done
        assert steps(store)[-1][0] == current


@pytest.mark.parametrize(
    "change",
    [ModelStore.promote, lambda store, *version: care.tag(store, "m", "kept", version[1])],
    ids=["promote", "tag"],
)
def test_a_version_that_was_removed_while_a_change_waited_is_missed(
    store: ModelStore, change: Callable[[ModelStore, str, str], object]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with store.locked("m") as home:
            waiting = thread.submit(change, store, "m", "a")
            time.sleep(0.3)
            shutil.rmtree(home / "a")
        with pytest.raises(StoreError, match="no version 'a'"):
            waiting.result()
    assert store.in_use("m") == "c"


@pytest.mark.parametrize("name", [".lock", "history.jsonl", ".current"])
def test_no_file_is_written_that_a_link_in_the_store_leads_to(
    store: ModelStore, name: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("precious")
    (store.root / "m" / name).unlink(missing_ok=True)
    (store.root / "m" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match="can't be written to"):
        store.promote("m", "a")
    assert (tmp_path / "mine").read_text() == "precious"


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


@pytest.mark.parametrize("content", [None, "", '{"version": "z"}'])
def test_the_list_names_a_model_without_a_current_version(
    store: ModelStore, flights: Artifact, content: str | None
) -> None:
    shutil.copytree(flights.path.parent, store.root / "flights")
    pointer = store.root / "m/current"
    pointer.write_text(content) if content is not None else pointer.unlink()
    lines = describe(store)
    assert [line[0] for line in lines] == ["*", " ", " ", " ", "!"]
    assert "trivet models promote --model m VERSION" in lines[-1]


def test_the_list_of_one_model(store: ModelStore, flights: Artifact) -> None:
    shutil.copytree(flights.path.parent, store.root / "flights")
    [line] = describe(store, "flights")
    assert line.startswith("* flights  ")
    assert len(describe(store, "m")) == 3
    with pytest.raises(StoreError, match="no model 'flight' in this store; did you mean 'flights'"):
        describe(store, "flight")
