"""A row means the same by every way in."""

from __future__ import annotations

import json
import math
import tracemalloc
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.errors import RecordsRejected
from trivet.rows.arrays import Rows
from trivet.rows.columns import encode_cells, encode_columns, unfit_cells
from trivet.rows.contract import Column, Contract, Kind, Target
from trivet.rows.records import FEW_ROWS, RecordEncoder
from trivet.rows.values import FAULTS_LISTED, to_record

KINDS: tuple[Kind, ...] = ("number", "integer", "boolean", "category", "timestamp")
AWKWARD_NAMES = (
    "a b",
    "x.y",
    "z[0]",
    "schema",
    "copy",
    "model_dump",
    "self",
    "instances",
    "é",
    '"',
)


def contract_of(*columns: Column) -> Contract:
    target = Target(name="y", task="regression")
    return Contract(columns=columns, target=target, identifiers=("id",), example={})


def column(kind: Kind, name: str = "x", nullable: bool = True) -> Column:
    categories = ("7", "AA", "b c") if kind == "category" else ()
    return Column(name=name, kind=kind, nullable=nullable, missing=0, categories=categories)


def from_json(kind: Kind, value: object, nullable: bool = True) -> float:
    encoder = RecordEncoder(contract_of(column(kind, nullable=nullable)))
    return encoder.encode([json.loads(json.dumps({"x": value}))])[0][0]


def from_text(kind: Kind, text: str | None) -> float:
    return float(encode_cells(pa.array([text], pa.string()), column(kind))[0])


def from_table(table: pa.Table, contract: Contract) -> Rows:
    cells = {name: table.column(name) for name in table.column_names}
    return encode_columns(cells, contract, table.num_rows)


@pytest.mark.parametrize("kind", KINDS)
def test_absent_null_nan_and_empty_are_all_missing(kind: Kind) -> None:
    encoder = RecordEncoder(contract_of(column(kind)))
    records: list[object] = [{}, {"x": None}, {"x": math.nan}, {"x": ""}]
    assert all(math.isnan(row[0]) for row in encoder.encode(records))
    assert math.isnan(from_text(kind, None))
    assert math.isnan(from_text(kind, ""))


@pytest.mark.parametrize(
    ("kind", "value", "text", "number"),
    [
        ("number", 3, "3", 3.0),
        ("number", -2.5, "-2.5", -2.5),
        ("number", 1e300, "1e300", 1e300),
        ("integer", 4, "4", 4.0),
        ("integer", 4.0, "4.0", 4.0),
        ("boolean", True, "True", 1.0),
        ("boolean", False, "false", 0.0),
        ("boolean", 1, "1", 1.0),
        ("category", "AA", "AA", 1.0),
        ("category", 7, "7", 0.0),
        ("category", "never seen", "never seen", -1.0),
        ("timestamp", "1970-01-02", "1970-01-02", 86400.0),
        ("timestamp", "1970-01-01T01:00:00+01:00", "1970-01-01 01:00:00+01:00", 0.0),
        ("timestamp", "1970-01-01T00:00:01.5Z", "1970-01-01T00:00:01.5Z", 1.5),
    ],
)
def test_json_and_text_give_one_number(kind: Kind, value: object, text: str, number: float) -> None:
    assert from_json(kind, value) == number
    assert from_text(kind, text) == number


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("number", "12", "type"),
        ("number", True, "type"),
        ("number", [1], "type"),
        ("number", {}, "type"),
        ("number", 10**400, "not_finite"),
        ("number", math.inf, "not_finite"),
        ("integer", 1.5, "type"),
        ("integer", -math.inf, "not_finite"),
        ("boolean", 2, "type"),
        ("boolean", "true", "type"),
        ("category", 1.5, "type"),
        ("category", True, "type"),
        ("category", ["AA"], "type"),
        ("timestamp", "yesterday", "type"),
        ("timestamp", 0, "type"),
    ],
)
def test_json_that_a_column_cannot_hold_is_a_fault(kind: Kind, value: object, code: str) -> None:
    with pytest.raises(RecordsRejected) as caught:
        from_json(kind, value)
    assert [fault.code for fault in caught.value.faults] == [code]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("number", "twelve"),
        ("number", "1_000"),
        ("number", "inf"),
        ("number", "1e999"),
        ("integer", "1.5"),
        ("boolean", "2"),
        ("boolean", "yes"),
        ("timestamp", "31/12/2013"),
    ],
)
def test_text_that_a_column_cannot_hold_is_unfit(kind: Kind, text: str) -> None:
    assert math.isinf(from_text(kind, text))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["NA", " n/a", "NULL", "nan", "None", "  "])
def test_words_for_a_missing_value_are_missing_everywhere(kind: Kind, word: str) -> None:
    contract = contract_of(column(kind))
    assert math.isnan(from_json(kind, word))
    assert math.isnan(from_table(pa.table({"x": [word]}), contract)[0, 0])
    assert np.isnan(encode_columns({"x": [word]}, contract, 1)[0, 0])
    with pytest.raises(RecordsRejected) as caught:
        from_json(kind, word, nullable=False)
    assert [fault.code for fault in caught.value.faults] == ["missing"]


def test_other_words_are_missing_if_the_contract_says_so() -> None:
    contract = contract_of(column("number"), column("category", "c"))
    contract = contract.model_copy(update={"missing_words": ("?",)})
    table = pa.table({"x": ["1", "?"], "c": ["NA", "?"]})
    np.testing.assert_array_equal(from_table(table, contract), [[1, -1], [np.nan, np.nan]])
    with pytest.raises(RecordsRejected, match="field 'x'"):
        RecordEncoder(contract).encode([{"x": "NA"}])


@pytest.mark.parametrize("value", [7, 7.0, "7", "7.0", "7.00"])
def test_a_code_is_one_category_however_it_is_written(value: object) -> None:
    codes = Column(
        name="x", kind="category", nullable=True, missing=0, categories=("7", "7.5"), codes=True
    )
    encoder = RecordEncoder(contract_of(codes))
    assert encoder.encode([{"x": value}]) == [[0.0]]
    assert encode_cells(pa.array([value]), codes).tolist() == [0]
    assert encode_cells(pa.array([7.5, 7.1], pa.float32()), codes).tolist() == [1, -1]
    assert encoder.encode([{"x": other} for other in (7.5, "7.5", "007", "7.50", "")])[:4] == [
        *([1.0], [1.0]),
        *([-1.0], [-1.0]),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_may_not_be_missing_is_required(kind: Kind) -> None:
    with pytest.raises(RecordsRejected, match="row 0, field 'x'"):
        from_json(kind, None, nullable=False)
    required = column(kind, nullable=False)
    assert unfit_cells(encode_cells(pa.array(["", None], pa.string()), required), required).all()


def test_every_fault_of_every_record_is_listed() -> None:
    encoder = RecordEncoder(contract_of(column("number", "dep_delay"), column("boolean", "late")))
    records: list[object] = [{"dep_dealy": 1, "late": "?"}, {"dep_delay": 1}, 7, {"dep_delay": "x"}]
    with pytest.raises(RecordsRejected) as caught:
        encoder.encode(records)
    found = [(fault.row, fault.field, fault.code, fault.nearest) for fault in caught.value.faults]
    assert found == [
        (0, "dep_dealy", "unknown_field", "dep_delay"),
        (0, "late", "type", None),
        (2, None, "not_a_record", None),
        (3, "dep_delay", "type", None),
    ]


def test_identifiers_and_the_target_are_ignored() -> None:
    encoder = RecordEncoder(contract_of(column("number")))
    assert encoder.encode([{"x": 1, "id": object(), "y": "anything"}]) == [[1.0]]


def test_any_column_name_works() -> None:
    columns = [column("number", name) for name in AWKWARD_NAMES]
    contract = contract_of(*columns)
    record = {name: float(position) for position, name in enumerate(AWKWARD_NAMES)}
    table = pa.table({name: [str(value)] for name, value in record.items()})
    assert RecordEncoder(contract).encode([record]) == [list(record.values())]
    assert from_table(table, contract).tolist() == [list(record.values())]


values: dict[Kind, st.SearchStrategy[Any]] = {
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**53), 2**53),
    "boolean": st.booleans(),
    "category": st.sampled_from(["7", "AA", "b c", "unseen", "a,b", 'quo"te', "two\nlines", " AA"]),
    "timestamp": st.datetimes().map(lambda moment: moment.isoformat()),
}


TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
    "timestamp": pa.timestamp("us"),
}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("timestamp", pa.array([1383260400])),
        ("number", pa.array([True])),
        ("category", pa.array([True])),
        ("category", pa.array([date(2013, 11, 1)])),
        ("category", pa.array([1.5])),
        ("boolean", pa.array([2])),
        ("integer", pa.array([1.5])),
    ],
)
def test_typed_columns_are_held_to_the_same_rules_as_json(kind: Kind, values: pa.Array) -> None:
    assert math.isinf(encode_cells(values, column(kind))[0])
    if not pa.types.is_date(values.type):  # which JSON has not
        with pytest.raises(RecordsRejected):
            from_json(kind, values[0].as_py())


def test_other_types_of_the_same_values_are_taken() -> None:
    days = pa.array([date(1970, 1, 2)])
    for kind, values, number in [
        ("timestamp", days, 86400),
        ("timestamp", days.cast(pa.timestamp("ns", "UTC")), 86400),
        ("number", pa.array([Decimal("1.5")]), 1.5),
        ("number", pa.array([3], pa.int8()), 3),
        ("integer", pa.array([3.0], pa.float32()), 3),
        ("boolean", pa.array([1], pa.int8()), 1),
        ("category", pa.array([7]), 0),
        ("category", pa.array([7.0]), 0),
        ("category", pa.array(["AA"], pa.large_string()), 1),
    ]:
        encoded = encode_cells(values, column(kind))  # type: ignore[arg-type]
        assert encoded.tolist() == [number], (kind, values.type)


def test_the_unfit_rows_are_told_apart_from_the_others() -> None:
    required = column("number", nullable=False)
    numbers = encode_cells(pa.array([Decimal("1.5"), None, Decimal("2.5")]), required)
    assert unfit_cells(numbers, required).tolist() == [False, True, False]


def test_faults_beyond_those_listed_are_not_looked_for() -> None:
    record = {f"unknown {number}": 1 for number in range(100_000)}
    encoder = RecordEncoder(contract_of(column("number")))
    tracemalloc.start()
    with pytest.raises(RecordsRejected) as raised:
        encoder.encode([record])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(raised.value.faults) == FAULTS_LISTED
    assert peak < 2_000_000  # bytes: the names alone, and no fault of each


@given(st.fixed_dictionaries({kind: st.none() | values[kind] for kind in KINDS}))
def test_a_record_and_a_table_row_are_encoded_alike(record: dict[str, Any]) -> None:
    contract = contract_of(*(column(kind, kind) for kind in KINDS))
    expected = RecordEncoder(contract).encode([record])
    as_text = {
        name: None if value is None else value if isinstance(value, str) else json.dumps(value)
        for name, value in record.items()
    }
    table = pa.table({name: pa.array([text], pa.string()) for name, text in as_text.items()})
    np.testing.assert_array_equal(from_table(table, contract), expected)
    moment = record["timestamp"] and datetime.fromisoformat(record["timestamp"])
    typed = {**record, "timestamp": moment}
    table = pa.table({kind: pa.array([typed[kind]], TYPES[kind]) for kind in KINDS})
    np.testing.assert_array_equal(from_table(table, contract), expected)


@given(st.fixed_dictionaries({kind: st.none() | values[kind] for kind in KINDS}))
def test_a_row_decodes_to_a_record_that_encodes_to_it(record: dict[str, Any]) -> None:
    contract = contract_of(*(column(kind, kind) for kind in KINDS))
    encoder = RecordEncoder(contract)
    row = encoder.encode([record])[0]
    np.testing.assert_allclose(encoder.encode([to_record(row, contract)])[0], row, rtol=1e-15)


#: Every kind of column, by name, as it may and as it may not be missing.
MANY = {
    each.name: each
    for nullable in (True, False)
    for each in (
        *(column(kind, f"{kind} {nullable}", nullable) for kind in KINDS),
        Column(
            name=f"codes {nullable}",
            kind="category",
            nullable=nullable,
            missing=0,
            categories=("7", "7.5"),
            codes=True,
        ),
        Column(
            name=f"comma {nullable}",
            kind="number",
            nullable=nullable,
            missing=0,
            form="decimal comma",
        ),
    )
}
ROWS = FEW_ROWS + 3
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -3, 7, 1.0, 7.5, -0.0, 2**53 + 1, 2**63, 2**64 + 1, 10**400),
    *(math.nan, math.inf, -math.inf, 1.7e308, 5e-324, [], ["AA"], {}, np.str_("AA")),
    *("", " ", "NA", " NA ", "1", "1.0", "7", "7.00", "AA", " AA", "b c", "1,5", "true", "\ud800"),
    *("1970-01-02", "2013-11-01T08:00:00+05:30", "0001-01-01T00:00:00+14:00", "yesterday"),
)


def plain_records() -> list[Any]:
    plain: dict[str, list[Any]] = {
        "number": [1, 2.5],
        "integer": [1, 2.0],
        "boolean": [True, False],
        "category": ["7", "AA"],
        "timestamp": ["2013-11-01T08:00:00Z", "1970-01-02"],
    }
    return [{name: plain[each.kind][row % 2] for name, each in MANY.items()} for row in range(ROWS)]


def outcome(encode: Any, records: list[Any]) -> object:
    """The bits of the rows, or the faults."""
    try:
        return np.array(encode(records), dtype=np.float64).tobytes()
    except RecordsRejected as error:
        return error.faults


def test_many_plain_records_are_encoded_column_by_column() -> None:
    encoder, records = RecordEncoder(contract_of(*MANY.values())), plain_records()
    assert isinstance(encoder.encode(records), np.ndarray)
    assert isinstance(encoder.encode(records[:FEW_ROWS]), list)
    for row, name in enumerate(name for name, each in MANY.items() if each.nullable):
        del records[row][name]
    records[0]["id"] = "ignored"
    assert isinstance(encoder.encode(records), np.ndarray)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, *range(ROWS)]),
            st.sampled_from([*MANY, "id", "", "unknown"]),
            st.sampled_from(ODD),
        ),
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(0, ROWS - 1), st.sampled_from([*MANY, None])), max_size=1),
)
def test_many_records_are_encoded_as_each_is_alone(
    put: list[tuple[int | None, str, object]], taken: list[tuple[int, str | None]]
) -> None:
    encoder, records = RecordEncoder(contract_of(*MANY.values())), plain_records()
    for row, name, value in put:
        for record in records if row is None else [records[row]]:
            record[name] = value
    for row, field in taken:
        if field is None:
            records[row] = [*records[row]]
        else:
            del records[row][field]
    assert outcome(encoder.encode, records) == outcome(encoder._by_row, records)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", MANY)
def test_a_column_of_odd_values_is_encoded_as_each_is_alone(name: str, value: object) -> None:
    encoder = RecordEncoder(contract_of(MANY[name]))
    for mixed in ([value], [value, None], [value, 1], [value, True], [value, "7"], [value, 1.5]):
        records = [{name: each} for each in mixed * ROWS]
        assert outcome(encoder.encode, records) == outcome(encoder._by_row, records)


@pytest.mark.parametrize("other", [None, 7, "x", [], ["x"], [("x", 1)], {}, {"y": 1}])
def test_what_is_no_record_is_the_same_fault_among_many(other: object) -> None:
    encoder = RecordEncoder(contract_of(column("number")))
    for records in ([other] * ROWS, [{"x": 1}] * ROWS + [other]):
        assert outcome(encoder.encode, records) == outcome(encoder._by_row, records)
