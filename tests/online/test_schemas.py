"""The documented schema of a value, and what the contract takes: they say the same."""

from __future__ import annotations

from typing import Any, get_args

import jsonschema_rs
import pytest

from trivet.online.schemas import record
from trivet.rows.contract import Column, Contract, Kind, Target
from trivet.rows.records import RecordEncoder
from trivet.rows.values import Unfit, column_encoder

WORDS = ("NA", "n/a", "?", "a.b", " - ", "(none)", "[x]", "\\")
VALUES: list[object] = [
    *(None, True, False, 0, 1, 2, -1, 0.0, 1.0, 0.5, 10**30, [], {}, [1]),
    *("", " ", "\n", "NA", " NA ", "NA\n", "n/a", "N/A", "?", "a.b", "axb", "-", "(none)", "none"),
    *("[x]", "x", "\\", "1", "0.5", "true", "UA", "NA x", "x NA", "x\nNA", "nan"),
    *("2013-11-01T08:00:00Z", "2013-02-30T08:00:00Z", "2013-11-01T08:00:00+05:30"),
]


def contract_of(column: Column) -> Contract:
    target = Target(name="late", task="regression")
    return Contract(columns=(column,), target=target, missing_words=WORDS, example={})


def is_taken(column: Column, value: object) -> bool:
    try:
        column_encoder(column, WORDS)(value)
    except Unfit:
        return False
    return True


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("codes", [False, True])
def test_the_schema_of_a_value_says_what_the_contract_takes(
    kind: Kind, nullable: bool, codes: bool
) -> None:
    codes = codes and kind == "category"
    categories = ("UA", "1") if kind == "category" else ()
    column = Column(
        name="c", kind=kind, nullable=nullable, missing=0, codes=codes, categories=categories
    )
    schema = record(contract_of(column))
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    said = {repr(value): validator.is_valid({"c": value}) for value in VALUES}
    assert said == {repr(value): is_taken(column, value) for value in VALUES}
    assert {True, False} == set(said.values())
    assert validator.is_valid({}) == nullable


@pytest.mark.parametrize("nullable", [False, True])
def test_text_of_a_form_may_be_any_as_its_description_says_which(nullable: bool) -> None:
    column = Column(
        name="c", kind="number", nullable=nullable, missing=0, form="decimal comma", unit="€"
    )
    schema = record(contract_of(column))
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    taken: list[Any] = ["1.234,50 €", 7, 0.5, *((None, "NA") if nullable else ())]
    for value in taken:
        assert validator.is_valid({"c": value})
        RecordEncoder(contract_of(column)).encode([{"c": value}])
    assert "decimal comma €" in schema["properties"]["c"]["description"]
