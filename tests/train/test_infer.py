"""What training makes of a table's columns."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trivet.errors import TrainingError
from trivet.rows.contract import Contract, Task
from trivet.train.infer import infer_contract
from trivet.train.settings import TrainSettings
from trivet.train.table import TrainingTable
from trivet.train.target import infer_target
from trivet.train.values import Values, as_array

ROWS = 40
CODES = {"x": "category"}
ALL_WORDS = {"NA", "none", "None", "n/a", " null ", "NaN"}
NUMBERS = [str(n % 7) for n in range(ROWS)]


def settings(**options: object) -> TrainSettings:
    return TrainSettings(**{"data": Path("table.csv"), "target": "y", **options})  # type: ignore[arg-type]


def infer(columns: dict[str, object], options: TrainSettings | None = None) -> Contract:
    table = table_of({"y": list(range(ROWS)), "plain": NUMBERS, **columns}, options)
    options = options or settings(task="regression")
    target = infer_target(table, options).target
    every = np.ones(ROWS, dtype=bool)
    return infer_contract(table, target, every, ~every, options)[0]


def table_of(columns: dict[str, object], options: TrainSettings | None = None) -> TrainingTable:
    """A table as it is read from the file that the settings name."""
    name = str(options.data if options else "table.csv")
    files = pa.table(columns)
    unusable = {
        field.name: f"values of type {field.type}"
        for field in files.schema
        if pa.types.is_nested(field.type)
    }
    words = (options or settings()).na_values
    values = {name: Values([as_array(files[name], words)]) for name in files.column_names}
    untyped = name.endswith(".csv")
    return TrainingTable(
        name, list(columns), values, unusable, files.num_rows, untyped, lambda row: f"row {row + 1}"
    )


def kind_of(values: object, **options: object) -> str:
    contract = infer({"x": values}, settings(task="regression", **options))
    (column,) = (column for column in contract.columns if column.name == "x")
    return column.kind


def reason_for(values: object, name: str = "x") -> str:
    (left_out,) = infer({name: values}).left_out
    assert left_out.name == name
    return left_out.reason


def test_kinds_of_text() -> None:
    assert kind_of(NUMBERS) == "integer"
    assert kind_of([f"{n % 7}.5" for n in range(ROWS)]) == "number"
    assert kind_of(["true", "False"] * 20) == "boolean"
    assert kind_of(["2013-01-01T10:00:00Z", "2013-02-01 10:00"] * 20) == "timestamp"
    assert kind_of(["EWR", "JFK"] * 20) == "category"
    assert kind_of(["1", "NA", "", "nan", None] * 8) == "integer"


def test_kinds_of_typed_columns() -> None:
    assert kind_of([n % 7 for n in range(ROWS)]) == "integer"
    assert kind_of([n % 7 + 0.5 for n in range(ROWS)]) == "number"
    assert kind_of([True, False] * 20) == "boolean"
    assert kind_of([datetime(2013, 1, 1 + n % 7) for n in range(ROWS)]) == "timestamp"


def test_codes_with_leading_zeros_stay_text() -> None:
    contract = infer({"x": ["007", "010"] * 20})
    assert contract.columns[1].categories == ("007", "010")


@pytest.mark.parametrize(
    "values",
    [["7", "8"], ["7.0", "8"], ["8.00", "7"], [7, 8], [7.0, 8.0], [Decimal(7), Decimal(8)]],
)
def test_categories_that_are_numbers_are_codes(values: list[object]) -> None:
    column = infer({"x": values * 20}, settings(task="regression", kinds=CODES)).columns[1]
    assert (column.categories, column.codes) == (("7", "8"), True)


@pytest.mark.parametrize(
    "values", [["007", "010"], ["7.10", "7.9"], ["7", "7.0"], ["7", "b"], ["1_0", "7"], [" 7", "8"]]
)
def test_categories_that_differ_in_how_they_are_written_are_text(values: list[str]) -> None:
    column = infer({"x": values * 20}, settings(task="regression", kinds=CODES)).columns[1]
    assert (column.categories, column.codes) == (tuple(sorted(values)), False)


def test_codes_with_more_digits_than_float64_holds_are_exact() -> None:
    codes = [2**63 + 1, 2**63 + 2]
    for values in (pa.array(codes, pa.uint64()), list(map(str, codes)), list(map(Decimal, codes))):
        options = settings(task="regression", kinds=CODES)
        repeated = (
            values.take(pa.array([0, 1] * 20)) if isinstance(values, pa.Array) else values * 20
        )
        assert infer({"x": repeated}, options).columns[1].categories == tuple(map(str, codes))


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_whole_numbers_that_would_lose_digits_are_left_out(name: str) -> None:
    options = settings(task="regression", data=Path(name))
    for numbers in ([2**53 + 1 + n for n in range(ROWS)], [-(2**60), *[5] * (ROWS - 1)]):
        contract = infer({"x": numbers}, options)
        [left_out] = contract.left_out
        assert left_out.reason.startswith("whole numbers beyond 2^53 lose digits")
        assert "--id x" in left_out.reason
    assert (
        kind_of(pa.array([2**63 + n for n in range(ROWS)], pa.uint64()), kinds=CODES) == "category"
    )
    assert kind_of([2**60 + n * 2**20 for n in range(ROWS)], kinds={"x": "number"}) == "number"
    assert kind_of([2**53 - n * n for n in range(ROWS)]) == "integer"


def test_whole_decimals_are_integers() -> None:
    assert (
        kind_of(pa.array([Decimal(n % 7) for n in range(ROWS)], pa.decimal128(9, 0))) == "integer"
    )
    assert kind_of(pa.array([Decimal(n % 7) for n in range(ROWS)], pa.decimal128(9, 1))) == "number"


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_words_for_a_missing_value_are_missing_in_columns_of_every_kind(name: str) -> None:
    for values, kind in [
        (["true", "NA", "False", "None"], "boolean"),
        (["1", "None", "2", "3"], "integer"),
        (["2013-01-01", "n/a", "2013-02-01", "2013-02-02"], "timestamp"),
        (["EWR", " null ", "JFK", "NaN"], "category"),
    ]:
        options = settings(task="regression", data=Path(name))
        column = infer({"x": values * 10}, options).columns[1]
        assert column.kind == kind or (name != "table.csv" and column.kind == "category")
        assert (column.nullable, column.missing) == (True, sum(v in ALL_WORDS for v in values) / 4)
        assert not ALL_WORDS.intersection(column.categories)


def test_the_words_for_a_missing_value_can_be_said() -> None:
    values = ["EWR", "NA", "JFK", "?"] * 10
    said = infer({"x": values}, settings(task="regression", na_values=["?"]))
    assert said.columns[1].categories == ("EWR", "JFK", "NA")
    assert said.missing_words == ("?",)
    none = infer({"x": values}, settings(task="regression", na_values=[""]))
    assert none.columns[1].categories == ("?", "EWR", "JFK", "NA")
    assert kind_of(["1", "2", "-", "?"] * 10, na_values=["?", "-"]) == "integer"


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_a_placeholder_among_numbers_is_named_with_its_fix(name: str) -> None:
    options = settings(task="regression", data=Path(name))
    with pytest.raises(TrainingError) as error:
        infer({"x": ["1", "?", "2", "3"] * 10}, options)
    assert "row 2, column 'x': '?' is not a finite number" in str(error.value)
    assert "(10 such cells; the next: row 6, row 10)" in str(error.value)
    assert "--na-value '?'" in str(error.value)
    assert "--kind x=category" in str(error.value)
    assert kind_of(["Private", "?"] * 20) == "category"
    assert kind_of(["-", "--"] * 20) == "category"


def test_text_of_a_typed_file_stays_text() -> None:
    assert kind_of(["10", "20"] * 20, data=Path("table.parquet")) == "category"
    assert kind_of(["2013-01-01", "2014-01-01"] * 20, data=Path("table.parquet")) == "timestamp"


def test_a_decimal_point_makes_a_number() -> None:
    assert kind_of(["29.0", "30.0"] * 20) == "number"
    assert target_of(["1.0", "0.0"]) == target_of([1.0, 0.0]) == ("classification", (0, 1))


def test_a_kind_that_is_said_wins() -> None:
    assert kind_of(NUMBERS, kinds={"x": "category"}) == "category"


def test_ranges_categories_and_missing_values() -> None:
    contract = infer(
        {
            "n": ["3", None, *["5"] * 38],
            "c": ["b", "a"] * 20,
            "t": ["2013-01-01", "2013-06-01T12:00:00Z"] * 20,
        }
    )
    _, n, c, t = contract.columns
    assert (n.minimum, n.maximum, n.nullable, n.missing) == (3, 5, True, 1 / 40)
    assert (c.categories, c.nullable, c.minimum) == (("a", "b"), False, None)
    assert (t.minimum, t.maximum) == ("2013-01-01T00:00:00Z", "2013-06-01T12:00:00Z")


def test_a_feature_may_be_said_to_be_nullable() -> None:
    contract = infer({}, settings(task="regression", nullable=("plain",)))
    assert contract.columns[0].nullable


def test_unusable_columns_are_named_with_the_reason() -> None:
    assert reason_for(["same"] * ROWS).startswith("constant")
    assert reason_for([None] * ROWS).startswith("empty")
    assert reason_for([f"N{n}" for n in range(ROWS)]).startswith("an identifier in disguise")
    assert reason_for([str(n + 100) for n in range(ROWS)]).startswith("an identifier in disguise")
    scattered = [str(n * n) for n in range(ROWS)]
    assert reason_for(scattered, "customer_id").startswith("an identifier in disguise")
    assert reason_for(scattered, "").startswith("an identifier in disguise")
    assert reason_for([f"the {n}th of many words" for n in range(ROWS)]).startswith("free text")
    assert "can't be a feature" in reason_for([[1, 2]] * ROWS)


def test_different_numbers_alone_make_no_identifier() -> None:
    assert kind_of([str(n * n) for n in range(ROWS)]) == "integer"


def test_numbers_with_one_bad_cell_are_an_error_not_a_category() -> None:
    with pytest.raises(TrainingError, match=r"row 40, column 'x': 'oops' .* --kind x=category"):
        infer({"x": [*(f"{n}.5" for n in range(ROWS - 1)), "oops"]})


def test_a_table_without_features_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"no column can be a feature: plain .*; same "):
        infer({"same": ["1"] * ROWS, "plain": ["1"] * ROWS})


def target_of(values: list[Any], task: Task | None = None) -> tuple[str, tuple[object, ...]]:
    twice = values * 2  # a label needs two rows
    target = infer_target(table_of({"y": twice}), settings(task=task)).target
    return target.task, target.labels


def test_the_task_follows_from_the_target() -> None:
    assert target_of(["true", "false"]) == ("classification", (False, True))
    assert target_of(["b", "a", "c"]) == ("classification", ("a", "b", "c"))
    assert target_of(["7", "9", "7"]) == ("classification", (7, 9))
    assert target_of([0.0, 1.0, None]) == ("classification", (0, 1))
    assert target_of([str(n) for n in range(30)]) == ("regression", ())
    assert target_of([0.1, 0.2, 0.7]) == ("regression", ())


def test_the_task_can_be_said() -> None:
    assert target_of(["1", "2", "3"], "regression") == ("regression", ())
    assert target_of([str(n) for n in range(30)], "classification")[0] == "classification"


def test_rows_without_a_target_are_marked() -> None:
    values = infer_target(table_of({"y": ["b", "", "a", None] * 2}), settings()).values
    np.testing.assert_array_equal(values, [1, np.nan, 0, np.nan] * 2)


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (["a", "b"], "regression", "a regression needs numbers"),
        (["0.5", "1"], "classification", "fractions"),
        (["a", "a"], None, "a classifier needs two"),
        ([2**53 + 2, 2**53 + 4], None, "beyond 2.53"),
        (["2013-01-01", "2013-01-02"], None, "is timestamp"),
        ([[1], [2]], None, "values of type list.*, which training can't use"),
    ],
)
def test_a_target_that_cannot_be_one_is_an_error(
    values: list[Any], task: Task | None, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        target_of(values, task)
