"""Numbers and moments that a table writes in its own way are read the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ready_client, run_trivet, write_csv
from trivet import api
from trivet.errors import RecordsRejected, TableError, TrainingError
from trivet.model.artifact import Manifest
from trivet.online.settings import ServeSettings
from trivet.train.settings import TrainSettings

ROWS = 300
NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec")
#: How a number from 0 to 299 is written, the form, its unit, and what it is read as.
WAYS: dict[str, tuple[Callable[[int], str], str, str, Callable[[int], float | str]]] = {
    "money": (lambda n: f"${n * 1111:,}.50", "decimal point", "$", lambda n: n * 1111 + 0.5),
    "whole money": (lambda n: f"$ {n * 1111:,}", "decimal point", "$", lambda n: n * 1111),
    "euros": (lambda n: f"{n},25 €", "decimal comma", "€", lambda n: n + 0.25),
    "percent": (lambda n: f"{n / 8}%", "decimal point", "%", lambda n: n / 8),
    "thousands": (lambda n: f"{n * 1111:,}", "decimal point", "", lambda n: n * 1111),
    "decimal commas": (lambda n: f"{n},5", "decimal comma", "", lambda n: n + 0.5),
    "brackets": (lambda n: f"({n}.5)", "decimal point", "", lambda n: -n - 0.5),
    "days": (
        lambda n: f"{n % 28 + 1:02}.{n % 12 + 1:02}.{2000 + n}",
        "day.month.year",
        "",
        lambda n: f"{2000 + n}-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00Z",
    ),
    "American days": (
        lambda n: f"{n % 12 + 1}/{n % 28 + 1}/{2000 + n}",
        "month/day/year",
        "",
        lambda n: f"{2000 + n}-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00Z",
    ),
    "days of short years": (
        lambda n: f"{n % 12 + 1}/{n % 28 + 1}/{n // 10 + 10} 0:00",
        "month/day/year",
        "",
        lambda n: f"{2010 + n // 10}-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00Z",
    ),
    "years first": (
        lambda n: f"{2000 + n}/{n % 12 + 1:02}/{n % 28 + 1:02}",
        "year/month/day",
        "",
        lambda n: f"{2000 + n}-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00Z",
    ),
    "names of months": (
        lambda n: f"{NAMES[n % 12]} {n % 28 + 1}, {2000 + n}",
        "month name",
        "",
        lambda n: f"{2000 + n}-{n % 12 + 1:02}-{n % 28 + 1:02}T00:00:00Z",
    ),
    "months and years": (
        lambda n: f"{NAMES[n % 12]}-{2000 + n}",
        "month name",
        "",
        lambda n: f"{2000 + n}-{n % 12 + 1:02}-01T00:00:00Z",
    ),
    "times": (lambda n: f"{n // 60:02}:{n % 60:02}", "hour:minute", "", lambda n: n),
    "months": (
        lambda n: f"{1990 + n // 12}-{n % 12 + 1:02}",
        "year-month",
        "",
        lambda n: f"{1990 + n // 12}-{n % 12 + 1:02}-01T00:00:00Z",
    ),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def table(folder: Path, texts: list[str]) -> Path:
    """A table whose target follows from a column of these texts."""
    rows = [[text, n % 7, n > ROWS / 2] for n, text in enumerate(texts)]
    return write_csv(folder / "table.csv", ["x", "noise", "y"], rows)


def trained(folder: Path, texts: list[str], **options: object) -> Manifest:
    settings: dict[str, object] = {"models_dir": folder / "models", **options}
    return api.train(table(folder, texts), "y", **settings).manifest  # type: ignore[arg-type]


def test_text_is_read_alike_by_every_leg(tmp_path: Path, way: str) -> None:
    write, form, unit, meant = WAYS[way]
    texts = [write(n) for n in range(ROWS)]
    manifest = trained(tmp_path, texts)
    column = manifest.contract.columns[0]
    assert (column.name, column.form, column.unit) == ("x", form, unit)
    assert (manifest.metrics["accuracy"] or 0) > 0.9

    model = api.load(models_dir=tmp_path / "models")
    as_text = model.predict(pd.DataFrame({"x": texts, "noise": np.arange(ROWS) % 7}))
    as_json = model.predict([{"x": meant(n), "noise": n % 7} for n in range(ROWS)])
    assert as_text["probability_true"].tolist() == [
        pytest.approx(each["probabilities"]["true"], rel=1e-9) for each in as_json
    ]
    done = run_trivet("batch-predict", "--input", "table.csv", "--output", "o.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    in_batch = pd.read_csv(tmp_path / "o.csv")["probability_true"]
    np.testing.assert_allclose(in_batch, as_text["probability_true"], rtol=1e-9)
    with ready_client(ServeSettings(models_dir=tmp_path / "models")) as client:
        asked = {"instances": [{"x": text, "noise": n % 7} for n, text in enumerate(texts[:50])]}
        answers = client.post("/predict", json=asked).json()["predictions"]
        csv = "x,noise\n" + "".join(f'"{text}",{n % 7}\n' for n, text in enumerate(texts[:50]))
        by_csv = client.post("/predict", content=csv, headers={"Content-Type": "text/csv"}).json()
        fields = client.get("/openapi.json").json()["components"]["schemas"]["Record"]
    online = [answer["probabilities"]["true"] for answer in answers]
    np.testing.assert_allclose(online, as_text["probability_true"][:50], rtol=1e-9)
    assert by_csv["predictions"] == answers
    assert "string" in json.dumps(fields["properties"]["x"]["type"])
    assert form in fields["properties"]["x"]["description"]


def test_a_target_and_a_time_column_may_be_written_so(tmp_path: Path) -> None:
    rows = [[n % 7, f"{n % 28 + 1}.1.{1700 + n}", f"${n % 7 * 1000:,}.5"] for n in range(ROWS)]
    path = write_csv(tmp_path / "table.csv", ["x", "day", "price"], rows)
    store = tmp_path / "models"
    manifest = api.train(path, "price", time_column="day", models_dir=store).manifest
    assert manifest.contract.target.task == "regression"
    assert api.load(models_dir=store).predict({"x": 3})["prediction"] == pytest.approx(3000.5, 0.01)


def test_a_target_of_moments_names_the_flag_that_makes_them_labels(tmp_path: Path) -> None:
    rows = [[n % 7, f"2024-0{n % 2 + 1}"] for n in range(ROWS)]
    path, store = write_csv(tmp_path / "table.csv", ["x", "y"], rows), tmp_path / "models"
    with pytest.raises(TrainingError, match=r"is timestamp; .*\(--kind y=category makes"):
        api.train(path, "y", models_dir=store)
    manifest = api.train(path, "y", kinds={"y": "category"}, models_dir=store).manifest
    assert manifest.contract.target.labels == ("2024-01", "2024-02")


def test_days_that_may_be_months_are_left_out_with_the_flag(tmp_path: Path) -> None:
    texts = [f"{n % 12 + 1}/{n * 5 % 12 + 1}/{2000 + n}" for n in range(ROWS)]
    (left_out,) = trained(tmp_path, texts).contract.left_out
    assert left_out.reason == (
        "its days may be months (--form x=day/month/year or --form x=month/day/year says which)"
    )
    told = trained(tmp_path, texts, forms={"x": "month/day/year"})
    assert told.contract.columns[0].form == "month/day/year"


def test_another_unit_is_a_fault(tmp_path: Path) -> None:
    trained(tmp_path, [f"${n}" for n in range(ROWS)])
    model = api.load(models_dir=tmp_path / "models")
    assert model.predict({"x": "12", "noise": 1}) == model.predict({"x": "$12", "noise": 1})
    with pytest.raises(RecordsRejected, match="or text of the form decimal point"):
        model.predict({"x": "12 €", "noise": 1})


@pytest.mark.parametrize(
    "texts",
    [
        [f"{n:03}" for n in range(100)] * 3,
        ["7.10", "7.9", "7.10.1"] * 100,
        ["1.2.10", "1.2.11"] * 150,
        ["Mayor 5 2010", "Marco 5 2010"] * 150,
        ["$5", "€5", "£7"] * 100,
        ["SKU 17", "SKU 18"] * 150,
        ["10.0.0.1", "10.0.0.2"] * 150,
    ],
    ids=["codes", "versions", "short versions", "names", "currencies", "articles", "addresses"],
)
def test_what_only_looks_so_stays_text(tmp_path: Path, texts: list[str]) -> None:
    column = trained(tmp_path, texts).contract.columns[0]
    assert (column.kind, column.form) == ("category", None)


def test_a_form_that_a_cell_does_not_have_is_named(tmp_path: Path) -> None:
    texts = [*(f"{n},5" for n in range(ROWS - 1)), "1.2.3"]
    with pytest.raises(TableError, match=r"line 301, column 'x': '1\.2\.3' is not a finite"):
        trained(tmp_path, texts, forms={"x": "decimal comma"})


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        ([f"0,{n:03}" for n in range(ROWS)], "decimal comma"),
        ([f"${n % 3}.{n:03}" for n in range(ROWS)], "decimal point"),
        ([str(n) if n < 9 else f"{n % 9 + 1},{n:03}%" for n in range(ROWS)], "decimal comma"),
    ],
    ids=["decimal comma", "decimal point", "percentages"],
)
def test_three_decimals_are_no_thousands(tmp_path: Path, texts: list[str], form: str) -> None:
    column = trained(tmp_path, texts).contract.columns[0]
    assert column.form == form
    assert isinstance(column.maximum, float)
    assert column.maximum < 10


def test_a_form_that_begins_after_a_thousand_plain_numbers_is_seen(tmp_path: Path) -> None:
    rows = [[f"{n:,}", n > 1500] for n in range(3000)]
    path = write_csv(tmp_path / "table.csv", ["x", "y"], rows)
    (column,) = api.train(path, "y", models_dir=tmp_path / "models").manifest.contract.columns
    assert (column.kind, column.form) == ("number", "decimal point")


@pytest.mark.parametrize(
    "text", ["{n},5", "${n}", "{n}%", "01.01.{year}", "2024-01", "08:30", "{year}-01-01"]
)
def test_a_placeholder_among_numbers_and_moments_stops_training(tmp_path: Path, text: str) -> None:
    texts = ["-" if n % 9 == 1 else text.format(n=n, year=2000 + n) for n in range(ROWS)]
    with pytest.raises(TrainingError, match=r"line 3, column 'x': '-' is not .*--na-value -"):
        trained(tmp_path, texts)
    assert trained(tmp_path, texts, na_values=["-"]).contract.columns[0].kind != "category"


def test_moments_of_a_form_may_be_moments_in_a_batch(tmp_path: Path) -> None:
    days = pd.Series(pd.date_range("2001-01-01", periods=ROWS))
    texts = days.dt.strftime("%d.%m.%Y")
    trained(tmp_path, list(texts))
    model = api.load(models_dir=tmp_path / "models")
    noise = np.arange(ROWS) % 7
    as_text = model.predict(pd.DataFrame({"x": texts, "noise": noise}))
    frame = pd.DataFrame({"x": days, "noise": noise})
    pd.testing.assert_frame_equal(model.predict(frame), as_text)
    assert model.predict([{"x": days[9], "noise": 2}]) == model.predict(
        [{"x": texts[9], "noise": 2}]
    )
    frame.to_parquet(tmp_path / "batch.parquet")
    done = run_trivet(
        "batch-predict", "--input", "batch.parquet", "--output", "o.csv", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    in_batch = pd.read_csv(tmp_path / "o.csv")["probability_true"]
    np.testing.assert_allclose(in_batch, as_text["probability_true"], rtol=1e-9)


def test_a_batch_reads_a_form_where_all_its_cells_are_plain_numbers(tmp_path: Path) -> None:
    trained(tmp_path, [f"{n}.000,5" for n in range(1, ROWS + 1)])
    texts = ["1.234", "2.500", "299.000"]
    model = api.load(models_dir=tmp_path / "models")
    answers = model.predict([{"x": text, "noise": 1} for text in texts])
    write_csv(tmp_path / "batch.csv", ["x", "noise"], [[text, 1] for text in texts])
    done = run_trivet("batch-predict", "--input", "batch.csv", "--output", "o.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    in_batch = pd.read_csv(tmp_path / "o.csv")["probability_true"]
    assert in_batch.tolist() == [each["probabilities"]["true"] for each in answers]

    write_csv(tmp_path / "batch.csv", ["x", "noise"], [["1.5", 1], ["2.5", 1]])
    done = run_trivet("batch-predict", "--input", "batch.csv", "--output", "o.csv", cwd=tmp_path)
    assert "rejected 2 of 2 rows" in done.stderr


def test_a_form_is_seen_where_the_kind_is_given(tmp_path: Path) -> None:
    money = trained(tmp_path, [f"${n:,}" for n in range(ROWS)], kinds={"x": "integer"})
    column = money.contract.columns[0]
    assert (column.kind, column.form, column.unit) == ("integer", "decimal point", "$")
    days = [f"{n % 28 + 1}/{n % 12 + 1}/2024" for n in range(ROWS)]
    column = trained(tmp_path, days, kinds={"x": "timestamp"}).contract.columns[0]
    assert column.form == "day/month/year"
    column = trained(tmp_path, days, kinds={"x": "category"}).contract.columns[0]
    assert (column.form, len(column.categories)) == (None, 84)


@pytest.mark.parametrize("kind", ["category", "number", "boolean"])
def test_a_form_that_is_of_another_kind_is_refused(tmp_path: Path, kind: str) -> None:
    days = [f"{n % 28 + 1}/{n % 12 + 1}/2024" for n in range(ROWS)]
    with pytest.raises(TrainingError, match=f"day/month/year is timestamp, not {kind}; leave out"):
        trained(tmp_path, days, kinds={"x": kind}, forms={"x": "day/month/year"})


def test_forms_are_given_by_the_command_and_the_file(tmp_path: Path) -> None:
    table(tmp_path, [f"{n % 12 + 1}/{n * 5 % 12 + 1}/{2000 + n}" for n in range(ROWS)])
    told = ("train", "--data", "table.csv", "--target", "y", "--form", "x=day/month/year")
    assert run_trivet(*told, cwd=tmp_path).returncode == 0
    (tmp_path / "trivet.toml").write_text(
        '[train]\ndata = "table.csv"\ntarget = "y"\n[train.forms]\nx = "day/month/year"\n'
    )
    assert "up to date" in run_trivet("train", cwd=tmp_path).stdout
    wrong = run_trivet(*told[:-1], "x=day", cwd=tmp_path)
    assert "x can't be of form 'day'; a form is one of decimal point, " in wrong.stderr


def test_settings_name_a_form_that_there_is() -> None:
    assert TrainSettings("t.csv", "y", forms={"x": "decimal comma"}).forms["x"] == "decimal comma"
