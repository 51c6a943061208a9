"""Batch inference: what is carried, what is added, and what happens to a table that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.conftest import NOVEMBER, read_csv, run_trivet
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.batch.summary import Summary
from trivet.errors import StoreError, TableError, TooManyRejected

ADDED = ["prediction", "probability_false", "probability_true", "model_version"]
Predict = Callable[[Path, Path], Summary]


@pytest.fixture
def predict(flights_store: Path) -> Predict:
    return lambda source, output: batch_predict(
        BatchSettings(str(source), str(output), model="flights", models_dir=flights_store)
    )


@pytest.fixture
def november(tmp_path: Path) -> Path:
    """The first hundred flights of November."""
    table = tmp_path / "november.csv"
    table.write_text("".join(NOVEMBER.read_text().splitlines(keepends=True)[:101]))
    return table


def test_every_row_of_november_is_predicted(predict: Predict, tmp_path: Path) -> None:
    result = predict(NOVEMBER, tmp_path / "out.csv")
    rows, source = read_csv(tmp_path / "out.csv"), read_csv(NOVEMBER)
    assert result.rows == len(rows) == len(source) == 5000
    assert list(rows[0]) == ["flight_id", "time_hour", "late", *ADDED]
    for row, flight in zip(rows, source, strict=True):
        assert row["flight_id"] == flight["flight_id"]
        assert row["late"] == flight["late"]
        assert float(row["probability_true"]) + float(row["probability_false"]) == pytest.approx(1)
        assert row["prediction"] == str(float(row["probability_true"]) > 0.5).lower()
        assert row["model_version"] == result.model_version
    right = sum(row["prediction"] == row["late"] for row in rows)
    assert right / len(rows) > 0.89


def test_csv_and_parquet_say_the_same(predict: Predict, november: Path, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.csv.read_csv(november), tmp_path / "november.parquet")
    typed = pa.parquet.read_table(tmp_path / "november.parquet")
    predict(november, tmp_path / "a.csv")
    predict(tmp_path / "november.parquet", tmp_path / "b.parquet")
    a, b = pa.csv.read_csv(tmp_path / "a.csv"), pa.parquet.read_table(tmp_path / "b.parquet")
    assert a.select(ADDED[:3]).equals(b.select(ADDED[:3]))
    assert b.schema.field("prediction").type == pa.bool_()
    assert b.schema.field("time_hour").type == typed.schema.field("time_hour").type


def test_a_pandas_categorical_is_read(predict: Predict, november: Path, tmp_path: Path) -> None:
    typed = pa.csv.read_csv(november)
    position = typed.column_names.index("carrier")
    encoded = typed.set_column(position, "carrier", typed["carrier"].dictionary_encode())
    pa.parquet.write_table(encoded, tmp_path / "november.parquet")
    predict(november, tmp_path / "a.parquet")
    predict(tmp_path / "november.parquet", tmp_path / "b.parquet")
    a, b = (pa.parquet.read_table(tmp_path / f"{name}.parquet") for name in "ab")
    assert a["probability_true"].equals(b["probability_true"])


def test_other_columns_are_carried_untouched(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    head, *lines = november.read_text().splitlines()
    texts = ["007", '"a, b"', '"say ""hi"""', '"two\nlines"', "", "NA", " x "]
    lines = [f"{line},{texts[n % len(texts)]}" for n, line in enumerate(lines)]
    november.write_text("\n".join([f"{head},note", *lines]) + "\n")
    predict(november, tmp_path / "out.csv")
    kept = [row["note"] for row in read_csv(tmp_path / "out.csv")]
    assert kept[:7] == ["007", "a, b", 'say "hi"', "two\nlines", "", "NA", " x "]


def test_columns_may_stand_in_any_order(predict: Predict, november: Path, tmp_path: Path) -> None:
    rows = read_csv(november)
    names = sorted(rows[0])
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    (tmp_path / "sorted.csv").write_text("\n".join(lines) + "\n")
    predict(november, tmp_path / "a.csv")
    predict(tmp_path / "sorted.csv", tmp_path / "b.csv")
    a, b = read_csv(tmp_path / "a.csv"), read_csv(tmp_path / "b.csv")
    assert [row["probability_true"] for row in a] == [row["probability_true"] for row in b]


def test_a_header_alone_gives_a_header_alone(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    november.write_text(november.read_text().splitlines()[0] + "\n")
    assert predict(november, tmp_path / "out.csv").rows == 0
    assert (tmp_path / "out.csv").read_text().strip().split(",")[-4:] == ADDED


def test_a_column_that_may_be_missing_may_be_absent(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    table = pa.csv.read_csv(november)
    empty = table.set_column(
        table.column_names.index("wind_gust"), "wind_gust", pa.nulls(table.num_rows, pa.float64())
    )
    pa.csv.write_csv(empty, tmp_path / "empty.csv")
    pa.csv.write_csv(table.drop_columns(["wind_gust"]), tmp_path / "absent.csv")
    assert predict(tmp_path / "empty.csv", tmp_path / "a.csv").absent == ()
    assert predict(tmp_path / "absent.csv", tmp_path / "b.csv").absent == ("wind_gust",)
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_a_misspelt_column_is_not_taken_for_an_absent_one(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    november.write_text(november.read_text().replace("wind_gust", "windgust"))
    with pytest.raises(TableError, match="no column 'wind_gust'; did you mean 'windgust'"):
        predict(november, tmp_path / "out.csv")


def replace_cell(path: Path, row: int, name: str, value: str) -> None:
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[row][lines[0].index(name)] = value
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("dep_delay", "soon", "not a whole number"),
        ("distance", "", "missing"),
        ("temp", "inf", "not a finite number"),
    ],
)
def test_a_bad_row_is_set_aside_as_it_stood(
    predict: Predict, november: Path, tmp_path: Path, name: str, value: str, reason: str
) -> None:
    replace_cell(november, 7, name, value)
    summary = predict(november, tmp_path / "out.csv")
    assert (summary.rows, summary.predicted, summary.rejected) == (100, 99, 1)
    assert summary.rejected_by_reason == {f"{name}: {reason}": 1}
    [rejected] = read_csv(tmp_path / "out.csv.rejected.csv")
    row = november.read_text().splitlines()[7]
    facts = {"file": str(november), "line": "8", "column": name, "reason": reason, "row": row}
    assert rejected == facts
    left = [row["flight_id"] for row in read_csv(tmp_path / "out.csv")]
    assert left == [each["flight_id"] for at, each in enumerate(read_csv(november)) if at != 6]


def test_a_failed_run_leaves_the_old_output(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.csv").write_text("yesterday's")
    for row in (7, 8):
        replace_cell(november, row, "distance", "far")
    with pytest.raises(
        TooManyRejected, match=r"2 of 100 rows, .*distance: not a whole number \(2\)"
    ):
        predict(november, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "yesterday's"
    assert len(read_csv(tmp_path / "out.csv.rejected.csv")) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("dep_delay", "dep_dealy"),
            "no column 'dep_delay'; did you mean",
        ),
        (lambda text: text.replace("time_hour", "prediction"), "'prediction' would appear twice"),
        (lambda text: "", "is empty"),
        (lambda text: text + '"', "a quote that is opened and never closed, in line 102 or after"),
    ],
)
def test_a_table_that_does_not_fit_is_named(
    predict: Predict, november: Path, tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    november.write_text(change(november.read_text()))
    with pytest.raises(TableError, match=message):
        predict(november, tmp_path / "out.csv")


def test_text_that_is_not_utf_8_is_set_aside(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    november.write_bytes(november.read_bytes().replace(b",EWR", b",\xff\xfe\xff", 1))
    summary = predict(november, tmp_path / "out.csv")
    assert summary.rejected_by_reason == {"origin: not UTF-8": 1}
    bad = next(line for line in november.read_bytes().splitlines() if b"\xff" in line)
    assert bad in (tmp_path / "out.csv.rejected.csv").read_bytes()


def test_an_output_that_cannot_be_written_is_named(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match="can't be written"):
        predict(november, november / "out.csv")
    with pytest.raises(TableError, match="must end in"):
        predict(november, tmp_path / "out.xlsx")


def test_the_input_is_never_overwritten(predict: Predict, november: Path) -> None:
    before = november.read_bytes()
    with pytest.raises(TableError, match="is the input too"):
        predict(november, november.parent / "." / november.name)
    assert november.read_bytes() == before


def test_a_column_that_csv_cannot_hold_is_named(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    table = pa.csv.read_csv(november)
    table = table.append_column("tags", pa.array([["a"]] * table.num_rows))
    pa.parquet.write_table(table, tmp_path / "november.parquet")
    with pytest.raises(TableError, match=r"'tags' holds list.*write Parquet"):
        predict(tmp_path / "november.parquet", tmp_path / "out.csv")
    predict(tmp_path / "november.parquet", tmp_path / "out.parquet")


def test_the_output_may_go_to_a_new_folder(
    predict: Predict, november: Path, tmp_path: Path
) -> None:
    predict(november, tmp_path / "new/folder/out.parquet")
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == [
        "out.parquet",
        "out.parquet.summary.json",
    ]


def test_a_version_can_be_chosen(flights_store: Path, november: Path, tmp_path: Path) -> None:
    settings = BatchSettings(
        str(november), str(tmp_path / "o.csv"), "flights", "nope", flights_store
    )
    with pytest.raises(StoreError, match="no version 'nope'"):
        batch_predict(settings)


def test_the_command_says_what_it_did(flights_store: Path, november: Path, tmp_path: Path) -> None:
    result = run_trivet(
        *("batch-predict", "--input", november, "--output", "out.csv"),
        *("--model", "flights", "--models-dir", flights_store),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("100 rows predicted by flights ")
