"""Values as numbers: a row becomes one float64 per feature, in the contract's order.

======================  ======================================================================
kind                    its number
======================  ======================================================================
number, integer         the value
boolean                 0.0 or 1.0
category                the position in ``categories``; -1.0 for one that training did not see;
                        numbers and their text are one category if the column holds ``codes``
timestamp               seconds since 1970-01-01 UTC; without an offset, it is read as UTC
missing, of any kind    NaN
======================  ======================================================================

An absent field, ``null``, ``NaN``, empty text, an empty cell and the contract's words for it are
all missing. Text of a column's ``form`` is read by `trivet.rows.written` first. `column_encoder`
takes values of parsed JSON; `parse_cell` turns the text of a cell into such a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from trivet.rows.contract import Column, Contract, Form, Kind, Record, Value
from trivet.rows.written import read

#: Turns one value into its number, or raises `Unfit`.
Encoder = Callable[[object], float]

UNSEEN = -1.0
#: The most faults of a request that are listed.
FAULTS_LISTED = 100

#: The text for any category that training did not see.
UNSEEN_LABEL = "<unseen>"

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

EXPECTED: Mapping[Kind, str] = {
    "number": "a finite number",
    "integer": "a whole number",
    "boolean": "true or false",
    "category": "text",
    "timestamp": "an ISO 8601 timestamp, such as 2013-11-01T08:00:00Z",
}


class Unfit(ValueError):
    """A value that its column cannot hold; ``code`` is that of the `Fault`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def column_encoder(column: Column, words: Iterable[str] = ()) -> Encoder:
    """The function that turns one value of a column into its number, or raises `Unfit`.

    ``words`` mean a missing value.
    """
    known = compared(words)
    if column.kind == "category":
        encode = _category_encoder(column, known)
    else:
        encode = _ENCODERS[column.kind](partial(_missing, known))
    if column.form:
        encode = _written_encoder(column.form, column.unit, encode, known)
    return encode if column.nullable else _required(encode)


def compared(words: Iterable[str]) -> frozenset[str]:
    """Words for a missing value as `is_missing` compares them, empty text among them."""
    return frozenset({"", *(word.strip() for word in words)})


def is_missing(value: object, words: frozenset[str]) -> bool:
    """Whether a value of JSON means a missing one; ``words`` are `compared`."""
    if type(value) is str:
        return value.strip() in words
    return value is None or value != value


def kind_of_cells(column: Column) -> Kind:
    """The kind that `parse_cell` needs: text of a form is left for `column_encoder` to read."""
    return "category" if column.form and column.kind != "timestamp" else column.kind


def expected_of(column: Column) -> str:
    """What a value of this column must be, for an error message."""
    return EXPECTED[column.kind] + (f", or text of the form {column.form}" if column.form else "")


def parse_cell(kind: Kind, text: str) -> object:
    """The value in a text cell of a table, as JSON would hold it, for `column_encoder`.

    Text that is no number or boolean, such as a word for a missing value, is left as it is.
    """
    word = text.strip()
    if kind == "timestamp":
        return word
    if kind == "boolean":
        return BOOLEANS.get(word.lower(), text)
    if kind in ("number", "integer") and "_" not in word:  # Python alone reads 1_000 as a number
        with suppress(ValueError):
            return float(word)
    return text


def as_json_value(value: Any, kind: Kind) -> object:
    """A cell's value as JSON would hold it."""
    if isinstance(value, str):
        return parse_cell(kind, value)
    if isinstance(value, Decimal):
        is_whole = kind == "category" and value == value.to_integral_value()
        return int(value) if is_whole else float(value)
    if kind == "timestamp" and isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    return value


def category_text(value: object, fractions: bool = False) -> str | None:
    """The name of a category; None for a missing one.

    Raises `Unfit`, also for a number with a fraction unless ``fractions`` are allowed.
    """
    if type(value) is str:
        return value or None
    if type(value) is int:
        return str(value)
    if type(value) is float and (value.is_integer() or (fractions and math.isfinite(value))):
        return _number_text(value)
    _missing(frozenset(), value)
    return None


def code_of(text: str) -> str | None:
    """The text of a number as `category_text` writes it, for 7, 7.0, 7.00 or 7.5; else None.

    So 007 and the version 7.10 are no codes, but text.
    """
    try:
        number = float(text)
        if text == repr(number):
            return _number_text(number)
        whole = _ZEROS.sub("", text)
        return whole if whole == str(int(whole)) else None
    except (ValueError, OverflowError):
        return None


def to_value(column: Column, number: float) -> Value:
    """The value behind an encoded number; `UNSEEN_LABEL` for a category that was not seen."""
    if number != number:
        return None
    match column.kind:
        case "category":
            return UNSEEN_LABEL if number == UNSEEN else column.categories[int(number)]
        case "boolean":
            return bool(number)
        case "integer":
            return int(number)
        case "timestamp":
            return datetime.fromtimestamp(number, UTC).isoformat().replace("+00:00", "Z")
        case "number":
            return float(number)


def to_record(row: Iterable[float], contract: Contract) -> Record:
    """The record behind an encoded row, with one value per feature."""
    cells = zip(contract.columns, row, strict=True)
    return {column.name: to_value(column, number) for column, number in cells}


def _number_encoder(missing: Encoder) -> Encoder:
    def encode(value: object) -> float:
        if type(value) is float and -_INFINITY < value < _INFINITY:
            return value
        kind = type(value)
        if kind is float or kind is int:
            try:
                number = float(value)  # type: ignore[arg-type]
            except OverflowError:
                raise Unfit("not_finite") from None
            if number in (_INFINITY, -_INFINITY):
                raise Unfit("not_finite")
            return number
        return math.nan if value is None else missing(value)

    return encode


def _integer_encoder(missing: Encoder) -> Encoder:
    encode_number = _number_encoder(missing)

    def encode(value: object) -> float:
        if type(value) is int and -_EXACT < value < _EXACT:
            return float(value)
        number = encode_number(value)
        if number == number and not number.is_integer():
            raise Unfit("type")
        return number

    return encode


def _boolean_encoder(missing: Encoder) -> Encoder:
    encode_number = _number_encoder(missing)

    def encode(value: object) -> float:
        if value is True or value is False:
            return float(value)
        number = encode_number(value)
        if number not in (0.0, 1.0) and number == number:
            raise Unfit("type")
        return number

    return encode


def _timestamp_encoder(missing: Encoder) -> Encoder:
    def encode(value: object) -> float:
        if type(value) is not str or value == "":
            return missing(value)
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC).timestamp()  # fails outside the years 1 to 9999
        except (ValueError, OverflowError):
            return missing(value)

    return encode


def _category_encoder(column: Column, words: frozenset[str]) -> Encoder:
    positions = {category: float(position) for position, category in enumerate(column.categories)}

    def encode(value: object) -> float:
        if type(value) is str and value in positions:
            return positions[value]
        if is_missing(value, words):
            return math.nan
        text = category_text(value, fractions=column.codes) or ""
        return positions.get((code_of(text) or text) if column.codes else text, UNSEEN)

    return encode


def _written_encoder(
    form: Form, unit: str, encode_value: Encoder, words: frozenset[str]
) -> Encoder:
    def encode(value: object) -> float:
        if type(value) is not str or is_missing(value, words):
            return encode_value(value)
        meaning = read(form, value)
        if meaning is None:
            return encode_value(value)
        if meaning.unit not in ("", unit):
            raise Unfit("type")
        return encode_value(meaning.value)

    return encode


def _missing(words: frozenset[str], value: object) -> float:
    """NaN for a value that means missing; raises `Unfit` for any other."""
    if is_missing(value, words):
        return math.nan
    raise Unfit("type")


def _number_text(number: float) -> str:
    """A number as the name of a category: whole ones without a point."""
    return str(int(number)) if number.is_integer() else repr(number)


def _required(encode: Encoder) -> Encoder:
    def encode_required(value: object) -> float:
        number = encode(value)
        if number != number:
            raise Unfit("missing")
        return number

    return encode_required


_INFINITY = math.inf
#: Up to here, each whole number is a float.
_EXACT = 2**53
_ZEROS = re.compile(r"\.0+$")
_ENCODERS: Mapping[Kind, Callable[[Encoder], Encoder]] = {
    "number": _number_encoder,
    "integer": _integer_encoder,
    "boolean": _boolean_encoder,
    "timestamp": _timestamp_encoder,
}
