"""Where batches read and write: no foreign file is lost, whatever a place is called."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.conftest import NOVEMBER, TRIVET
from trivet.batch.folder import Folder
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.batch.summary import Summary
from trivet.errors import TableError

Predict = Callable[..., Summary]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table and, in a directory with a second name, another."""
    header, *rows = NOVEMBER.read_text().splitlines(keepends=True)
    (tmp_path / "real").mkdir()
    for table in ("in.csv", "real/in.csv"):
        (tmp_path / table).write_text(header + "".join(rows[:20]))
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def predict(flights_store: Path, here: Path) -> Predict:
    def predict(source: str, output: str, **options: object) -> Summary:
        settings = BatchSettings(source, output, "flights", models_dir=flights_store)
        return batch_predict(replace(settings, **options))  # type: ignore[arg-type]

    return predict


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in.csv", "../{here.name}/in.csv"),
        ("in.csv", "file://{here}/in.csv"),
        ("file://{here}/in.csv", "in.csv"),
        ("link/in.csv", "real/in.csv"),
        ("real/in.csv", "link/in.csv"),
        ("real", "real.csv/../real/"),
    ],
)
def test_the_input_is_never_the_output(
    predict: Predict, here: Path, source: str, output: str
) -> None:
    before = (here / "in.csv").read_bytes()
    with pytest.raises(TableError, match=r"is the input too|would be lost"):
        predict(source.format(here=here), output.format(here=here))
    assert (here / "in.csv").read_bytes() == (here / "real/in.csv").read_bytes() == before


@pytest.mark.parametrize(("source", "output"), [("real", "link/o.csv"), ("*.csv", "o.csv")])
def test_an_output_that_the_next_run_would_read_is_refused(
    predict: Predict, here: Path, source: str, output: str
) -> None:
    with pytest.raises(TableError, match="so the next run would read it"):
        predict(source, output)
    assert not (here / output).exists()
    assert predict("*.csv", "below/o.csv").predicted == 20


def test_a_directory_that_holds_anything_else_is_not_replaced(predict: Predict, here: Path) -> None:
    (here / "res").mkdir()
    (here / "res/thesis.txt").write_text("years of work")
    with pytest.raises(TableError, match=r"res/: holds thesis.txt, which is not a part of a batch"):
        predict("in.csv", "res/")
    assert (here / "res/thesis.txt").read_text() == "years of work"
    (here / "res/thesis.txt").unlink()
    for _ in range(2):  # into an empty one, and over its own
        assert predict("in.csv", "res/").predicted == 20
    assert [path.name for path in (here / "res").iterdir()] == ["part-00000.parquet"]


def test_a_directory_that_was_moved_away_by_a_run_that_was_killed_comes_back(
    predict: Predict, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict("in.csv", "res.csv/")
    before = (here / "res.csv/part-00000.csv").read_bytes()
    move = Folder.move

    def killed(folder: Folder, name: str, target: Folder, as_name: str) -> None:
        if name == "output":
            raise SystemExit
        move(folder, name, target, as_name)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "move", killed)
        with pytest.raises(SystemExit):
            predict("in.csv", "res.csv/")
    assert not (here / "res.csv").exists()
    with pytest.raises(TableError, match="no such file"):
        predict("no.csv", "res.csv/")
    assert (here / "res.csv/part-00000.csv").read_bytes() == before
    predict("in.csv", "res.csv/", resume=True)
    assert (here / "res.csv/part-00000.csv").read_bytes() == before


@pytest.mark.parametrize("output", ["out.csv", "out.parts/"])
def test_files_next_to_the_output_appear_by_a_rename(
    predict: Predict, here: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    writing, written = Folder.writing, set()

    def record(folder: Folder, name: str) -> AbstractContextManager[BinaryIO]:
        written.add(folder.address.removeprefix(f"{here}/"))
        return writing(folder, name)

    monkeypatch.setattr(Folder, "writing", record)
    predict("in.csv", output, workers=1)  # what is half written when a run is killed lies there
    staging = f".{output.rstrip('/')}.run"
    assert written == {staging, f"{staging}/output"}


def test_resume_goes_on_where_the_shards_are_gone(
    predict: Predict, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("trivet.batch.run.publish", killed)
        with pytest.raises(SystemExit):
            predict("in.csv", "out.csv")
    shutil.rmtree(here / ".out.csv.run/output")
    assert predict("in.csv", "out.csv", resume=True).predicted == 20


def test_a_link_to_an_output_stays_a_link(predict: Predict, here: Path) -> None:
    (here / "latest.csv").symlink_to("real/out.csv")
    predict("in.csv", "latest.csv")
    assert (here / "latest.csv").is_symlink()
    assert (here / "real/out.csv").read_text().count("\n") == 21


def test_a_run_that_never_began_leaves_nothing(predict: Predict, here: Path) -> None:
    before = sorted(here.iterdir())
    with pytest.raises(TableError, match="no such file"):
        predict("no.csv", "out.csv")
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("name", ["a::b.csv", "a b.csv", "ä#%.csv", "[1].csv"])
def test_names_may_hold_any_sign(predict: Predict, here: Path, name: str) -> None:
    (here / "in.csv").rename(here / name)
    assert predict(name, f"out-{name}").predicted == 20
    assert (here / f"out-{name}").exists()


def test_a_name_that_is_not_utf_8_is_named(predict: Predict, here: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    (here / "in.csv").rename(here / name)
    with pytest.raises(TableError, match="name of the file is not UTF-8"):
        predict(name, "out.csv")


@pytest.mark.parametrize("place", ["s4://bucket/x.csv", "nonsense://x.csv"])
def test_a_scheme_that_nobody_knows_is_named(predict: Predict, here: Path, place: str) -> None:
    for source, output in ((place, "out.csv"), ("in.csv", place)):
        with pytest.raises(TableError, match="can't be reached: Protocol not known"):
            predict(source, output)


@pytest.mark.parametrize("ends", ["</dev/null >/dev/full", "<&-", ">&-"])
def test_standard_input_and_output_that_are_no_use_are_one_line(
    flights_store: Path, here: Path, ends: str
) -> None:
    both = ("--input", "-" if "<" in ends and "full" not in ends else "in.csv", "--output", "-")
    command = ("batch-predict", *both, "--model", "flights", "--models-dir", flights_store)
    shell = ("sh", "-c", f'exec "$0" "$@" {ends}', TRIVET)
    done = subprocess.run([*shell, *command], capture_output=True, text=True, cwd=here, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard ")
    assert done.stderr.count("\n") == 1
