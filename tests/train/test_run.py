"""Training runs: what is published, when nothing is, and what a kill leaves behind."""

from __future__ import annotations

import random
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.conftest import FLIGHTS, NOVEMBER, ROOT, TRIVET, run_trivet, write_csv
from trivet.errors import TableError, TrainingError, TrivetError
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.train.run import train

# For what does not depend on how good the model is.
QUICK = replace(FLIGHTS, params={"max_iter": 10})
OPTIONS = ("--target", "late", "--id", "flight_id", "--time-column", "time_hour")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_the_flights_model_is_as_good_as_expected(flights: Artifact) -> None:
    metrics, baseline = flights.manifest.metrics, flights.manifest.baseline
    assert list(metrics) == ["roc_auc", "average_precision", "log_loss", "brier_score", "accuracy"]
    assert metrics["roc_auc"] is not None
    assert metrics["roc_auc"] > 0.89
    assert baseline["roc_auc"] == 0.5
    rows = flights.manifest.data.rows
    assert (rows.train, rows.held_out, rows.without_target) == (24000, 6000, 0)


def test_only_what_is_known_at_take_off_is_a_feature(flights: Artifact) -> None:
    contract = flights.manifest.contract
    weather = "temp dewp humid wind_dir wind_speed wind_gust precip pressure visib"
    flight = "month day_of_week hour carrier origin dest distance dep_delay"
    assert set(contract.feature_names) == set(f"{flight} {weather}".split())
    assert contract.identifiers == ("flight_id",)
    missing = {column.name: column.missing for column in contract.columns}
    assert 0.7 < missing["wind_gust"] < 0.8
    assert 0.08 < missing["pressure"] < 0.13


def test_the_split_is_by_time(flights: Artifact) -> None:
    months = {column.name: column for column in flights.manifest.contract.columns}["month"]
    assert months.minimum == 1
    assert months.maximum in (8, 9)


def test_the_same_inputs_train_nothing(store: ModelStore) -> None:
    settings = replace(QUICK, models_dir=store.root)
    first, second = train(settings), train(replace(settings, model="flights"))
    assert (first.trained, second.trained) == (True, False)
    assert first.manifest == second.manifest
    assert first.manifest.version == first.current


def test_force_trains_again_beside_what_is_there(store: ModelStore) -> None:
    settings = replace(QUICK, models_dir=store.root)
    first, forced = train(settings), train(replace(settings, force=True))
    assert forced.trained
    assert forced.manifest.version == f"{first.manifest.version}-r2" == forced.current
    assert forced.manifest.metrics == first.manifest.metrics
    assert not train(settings).trained
    assert store.rollback("flights") == first.manifest.version


@pytest.mark.parametrize("name", ["manifest.json", "model.joblib"])
@pytest.mark.parametrize("content", [None, b"{}"])
def test_training_again_mends_a_damaged_version(
    store: ModelStore, name: str, content: bytes | None
) -> None:
    settings = replace(QUICK, models_dir=store.root)
    first = train(settings)
    damaged = store.root / "flights" / first.manifest.version / name
    damaged.write_bytes(content) if content is not None else damaged.unlink()
    mended = train(settings)
    assert mended.trained
    assert mended.current == mended.manifest.version == f"{first.manifest.version}-r2"
    Predictor.load(store.artifact("flights"))
    assert not train(settings).trained


def test_row_labels_of_pandas_are_no_feature(store: ModelStore, tmp_path: Path) -> None:
    rows = pa.table({"x": [n % 7 for n in range(40)], "y": [n % 2 for n in range(40)]})
    labels = pa.array(range(40, 0, -1))
    pa.parquet.write_table(
        rows.append_column("__index_level_0__", labels), tmp_path / "table.parquet"
    )
    settings = replace(FLIGHTS, data=tmp_path / "table.parquet", target="y", identifiers=())
    manifest = train(replace(settings, time_column=None, models_dir=store.root)).manifest
    assert manifest.contract.feature_names == ("x",)


def test_other_settings_or_data_make_another_version(store: ModelStore, tmp_path: Path) -> None:
    settings = replace(QUICK, models_dir=store.root)
    versions = {
        train(changed).manifest.version
        for changed in (
            settings,
            replace(settings, params={"max_iter": 20}),
            replace(settings, seed=1),
            replace(settings, data=NOVEMBER),
        )
    }
    assert len(versions) == 4
    moved = tmp_path / "moved.csv"
    moved.write_bytes(Path(FLIGHTS.data).read_bytes())
    assert not train(replace(settings, data=moved)).trained


def test_a_rolled_back_model_is_not_promoted_by_training_again(store: ModelStore) -> None:
    settings = replace(QUICK, models_dir=store.root)
    bad = replace(settings, seed=1)
    good_version, bad_version = train(settings).current, train(bad).current
    store.rollback("flights")
    result = train(bad)
    assert (result.trained, result.current) == (False, good_version)
    assert result.manifest.version == bad_version


@pytest.mark.parametrize("content", [None, b"", b'{"version": ""}', b'{"version": "gone"}'])
def test_training_again_mends_the_pointer(store: ModelStore, content: bytes | None) -> None:
    settings = replace(QUICK, models_dir=store.root)
    version = train(settings).manifest.version
    pointer = store.root / "flights/current"
    pointer.write_bytes(content) if content is not None else pointer.unlink()
    unasked = train(replace(settings, promote=False))
    assert (unasked.trained, unasked.current) == (False, None)
    mended = train(settings)
    assert (mended.trained, mended.current) == (False, version)
    assert store.artifact("flights").manifest.version == version


@pytest.mark.slow
def test_a_first_version_that_is_not_promoted(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "table.csv", ["x", "y"], [[n % 7, n % 2] for n in range(40)])
    options = ("--data", table, "--target", "y", "--no-promote")
    for first in ("published", "up to date"):
        result = run_trivet("train", *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert first in result.stdout
        *_, last = result.stdout.splitlines()
        assert re.fullmatch(
            "no usable version is current; to use this version: "
            r"trivet models promote --model model \w+",
            last,
        )
    served = run_trivet("serve", cwd=tmp_path)
    assert served.returncode == 1
    assert "model 'model' has none current; choose a version with `trivet" in served.stderr


def test_a_version_under_a_wrong_name_is_trained_again(store: ModelStore) -> None:
    settings = replace(QUICK, models_dir=store.root)
    first = train(settings)
    (store.root / "flights").rename(store.root / "renamed")
    again = train(replace(settings, model="renamed"))
    assert again.trained
    assert again.current == again.manifest.version == f"{first.manifest.version}-r2"


def test_no_promote_leaves_current_as_it_was(store: ModelStore) -> None:
    settings = replace(QUICK, models_dir=store.root)
    first = train(settings)
    second = train(replace(settings, seed=1, promote=False))
    assert second.trained
    assert second.current == first.current != second.manifest.version


def test_rows_without_a_target_are_dropped_and_counted(store: ModelStore, tmp_path: Path) -> None:
    rows = [[n % 7, "" if n % 10 == 0 else n * 0.5] for n in range(100)]
    table = write_csv(tmp_path / "table.csv", ["x", "y"], rows)
    settings = replace(FLIGHTS, data=table, target="y", identifiers=(), time_column=None)
    counted = train(replace(settings, models_dir=store.root)).manifest.data.rows
    assert (counted.total, counted.without_target) == (100, 10)
    assert counted.train + counted.held_out == 90


def test_a_bad_cell_is_named_by_its_line_in_the_file(store: ModelStore, tmp_path: Path) -> None:
    rows = [[n + 0.5, "" if n < 10 else n] for n in range(40)]
    rows[15][0] = "oops"
    table = write_csv(tmp_path / "table.csv", ["x", "y"], rows)
    settings = replace(FLIGHTS, data=table, target="y", identifiers=(), time_column=None)
    with pytest.raises(TrainingError, match=r"table\.csv: line 17, column 'x': 'oops'"):
        train(replace(settings, models_dir=store.root))


@pytest.mark.slow
def test_two_runs_at_once_publish_one_version(store: ModelStore) -> None:
    command: list[str | Path] = [TRIVET, "train", "--data", FLIGHTS.data, *OPTIONS]
    command += ["--model", "flights", "--models-dir", store.root]
    runs = [
        subprocess.Popen(command, cwd=store.root.parent, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert sum("published flights" in text for text in printed) == 1
    assert sum("up to date" in text for text in printed) == 1
    assert len(store.versions("flights")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("late\n", "holds no rows"),
        ("x,late\n1,true\n2,false\n", "0 label.s. with more than one row"),
        ("x,late\n1,true\n2,false\n3,true\n4,false\n", "4 rows with a target are too few"),
        ("x,x,late\n1,2,true\n", "column 'x' appears twice"),
        ("x,late\n1,true,7\n", "rejected 1 of 1 rows.*too many cells"),
        ("x;late\n1;true\n", "one column named 'x;late': try --delimiter ';'"),
        ("x,lat\n1,true\n", "no column 'late'; did you mean 'lat'"),
    ],
)
def test_a_table_that_cannot_be_learnt_from_is_named(
    store: ModelStore, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "table.csv").write_text(content)
    settings = replace(FLIGHTS, data=tmp_path / "table.csv", identifiers=(), time_column=None)
    with pytest.raises(TrivetError, match=message):
        train(replace(settings, models_dir=store.root))
    assert store.names() == []


def test_a_missing_or_unknown_file_is_named(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such file"):
        train(replace(FLIGHTS, data=tmp_path / "no.csv", models_dir=store.root))
    (tmp_path / "table.xls").touch()
    with pytest.raises(TableError, match=r"must end in \.csv, \.tsv"):
        train(replace(FLIGHTS, data=tmp_path / "table.xls", models_dir=store.root))


@pytest.mark.slow
def test_a_killed_training_run_leaves_the_store_as_it_was(store: ModelStore) -> None:
    command: list[str | Path] = [TRIVET, "train", "--data", FLIGHTS.data, *OPTIONS, "--force"]
    command += ["--model", "flights", "--models-dir", store.root]
    started = time.monotonic()
    subprocess.run(command, cwd=store.root.parent, check=True, capture_output=True)
    whole_run = time.monotonic() - started
    draw = random.Random(0)  # noqa: S311
    for moment in (whole_run * draw.uniform(low, 1) for low in (0, 0, 0, 0.8, 0.8, 0.9, 0.9, 0.95)):
        current, versions = store.current("flights"), set(store.versions("flights"))
        assert current
        process = subprocess.Popen(command, cwd=store.root.parent, stdout=subprocess.DEVNULL)
        time.sleep(moment)
        process.kill()
        process.wait()
        appeared = set(store.versions("flights")) - versions
        after = store.current("flights")
        assert after
        assert after.version in {current.version, *appeared}
        for version in appeared:
            Predictor.load(store.artifact("flights", version))


@pytest.mark.slow
def test_the_command_prints_what_it_did(tmp_path: Path) -> None:
    options = ["--data", str(FLIGHTS.data), *OPTIONS, "--model", "f"]
    first = run_trivet("train", *options, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "left out time_hour: orders the split in time" in first.stdout
    assert "| roc_auc" in first.stdout
    second = run_trivet("train", *options, cwd=tmp_path)
    assert second.returncode == 0
    assert second.stdout.startswith("up to date: f ")
    assert "(same data, settings, code and libraries)" in second.stdout
    in_an_image = run_trivet("train", *options, cwd=tmp_path, TRIVET_IMAGE="trivet-train")
    assert "and the code of this image)" in in_an_image.stdout
    shown = run_trivet("models", "show", "--model", "f", cwd=tmp_path)
    assert "| wind_gust | number |" in shown.stdout


def test_up_to_date_costs_nothing(flights_store: Path) -> None:
    code = (
        "import sys; from trivet.cli.commands import main\n"
        "slow = {'sklearn', 'pandas', 'scipy', 'pyarrow', 'numpy'}\n"
        "try: main()\n"
        "finally: print(sorted(slow & set(sys.modules)))"
    )
    options = [*OPTIONS, "--model", "flights", "--models-dir", str(flights_store)]
    python = TRIVET.with_name("python")
    result = subprocess.run(
        [python, "-c", code, "train", "--data", FLIGHTS.data, *options],
        capture_output=True,
        text=True,
        cwd=ROOT / "tests",
        check=True,
    )
    assert "up to date" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"
