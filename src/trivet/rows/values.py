"""Values as numbers: a row becomes one float64 per feature, in the contract's order.

======================  ======================================================================
kind                    its number
======================  ======================================================================
number, integer         the value
boolean                 0.0 or 1.0
category                the position in ``categories``; -1.0 for one that training did not see
timestamp               seconds since 1970-01-01 UTC; without an offset, it is read as UTC
missing, of any kind    NaN
======================  ======================================================================

An absent field, ``null``, ``NaN``, empty text and an empty cell are all missing. `RecordEncoder`
takes values of parsed JSON; `parse_cell` turns the text of a cell into such a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from trivet.errors import Fault, RecordsRejected, nearest
from trivet.rows.contract import Column, Contract, Kind, Record, Value

UNSEEN = -1.0
#: The most unknown fields of a request that are compared with the known ones, which is slow.
SUGGESTIONS = 20
#: The most faults of a request that are listed.
FAULTS_LISTED = 100

#: The text for any category that training did not see.
UNSEEN_LABEL = "<unseen>"

#: Words for a missing value in a cell, in lower case; a category may have such a name.
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none"})
TRUE_WORDS = frozenset({"true", "1"})
FALSE_WORDS = frozenset({"false", "0"})

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


class RecordEncoder:
    """Turns records into rows of floats, or lists their faults."""

    def __init__(self, contract: Contract) -> None:
        self._encoders = [(column.name, column_encoder(column)) for column in contract.columns]
        self._expected = {column.name: EXPECTED[column.kind] for column in contract.columns}
        self._known = contract.known_names
        self._nearest = lru_cache(100)(partial(nearest, known=self._expected))

    def encode(self, records: Iterable[object]) -> list[list[float]]:
        """Encode records in order; the result is rows x features.

        Raises `RecordsRejected` with the faults, up to `FAULTS_LISTED`.
        """
        rows: list[list[float]] = []
        faults: list[Fault] = []
        known, encoders = self._known, self._encoders
        for row, record in enumerate(records):
            if len(faults) >= FAULTS_LISTED:
                break
            try:
                if not known.issuperset(record):  # type: ignore[arg-type]
                    raise Unfit("unknown_field")
                rows.append([encode(record.get(name)) for name, encode in encoders])  # type: ignore[attr-defined]
            except (Unfit, TypeError, AttributeError):
                found = self._faults_of(row, record, SUGGESTIONS - len(faults))
                faults.extend(islice(found, FAULTS_LISTED - len(faults)))
        if faults:
            raise RecordsRejected(faults)
        return rows

    def _faults_of(self, row: int, record: object, suggestions: int) -> Iterable[Fault]:
        if not isinstance(record, Mapping):
            expected = "an object with a value per field"
            yield Fault(row=row, code="not_a_record", expected=expected)
            return
        unknown = [name for name in record if name not in self._known]
        for count, name in enumerate(unknown):
            yield Fault(
                row=row,
                field=name,
                code="unknown_field",
                expected="one of the model's fields",
                nearest=self._nearest(name) if count < suggestions else None,
            )
        for name, encode in self._encoders:
            try:
                encode(record.get(name))
            except Unfit as unfit:
                expected = self._expected[name]
                yield Fault(row=row, field=name, code=unfit.code, expected=expected)


def column_encoder(column: Column) -> Callable[[object], float]:
    """The function that turns one value of a column into its number, or raises `Unfit`."""
    encode = (
        _category_encoder(column.categories)
        if column.kind == "category"
        else _ENCODERS[column.kind]
    )
    return encode if column.nullable else _required(encode)


def parse_cell(kind: Kind, text: str) -> object:
    """The value in a text cell of a table; raises `Unfit` if there is none.

    The result is what JSON would hold, so it can be given to `column_encoder`.
    """
    if kind == "category":
        return text
    text = text.strip()
    if text.lower() in MISSING_WORDS:
        return None
    if kind == "timestamp":
        return text
    if kind == "boolean":
        word = text.lower()
        if word in TRUE_WORDS or word in FALSE_WORDS:
            return word in TRUE_WORDS
        raise Unfit("type")
    try:
        if "_" in text:  # Python reads 1_000 as a number, the rest of the world does not
            raise Unfit("type")
        return float(text)
    except ValueError:
        raise Unfit("type") from None


def as_json_value(value: Any, kind: Kind) -> object:
    """A cell's value as JSON would hold it; raises `Unfit` for text that is no such value."""
    if isinstance(value, str):
        return parse_cell(kind, value)
    if isinstance(value, Decimal):
        return float(value)
    if kind == "timestamp" and isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    return value


def category_text(value: object) -> str | None:
    """The name of a category; None for a missing one; raises `Unfit`."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:  # codes such as 7 may be categories; in text they are "7"
        return str(value)
    if type(value) is str and value != "":
        return value
    _missing(value)
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


def _number(value: object) -> float:
    if value is None or value == "":
        return math.nan
    kind = type(value)
    if kind is float or kind is int:
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:
            raise Unfit("not_finite") from None
        if number in (math.inf, -math.inf):
            raise Unfit("not_finite")
        return number
    raise Unfit("type")


def _integer(value: object) -> float:
    number = _number(value)
    if number == number and not number.is_integer():
        raise Unfit("type")
    return number


def _boolean(value: object) -> float:
    if value is True or value is False:
        return float(value)
    number = _number(value)
    if number not in (0.0, 1.0) and number == number:
        raise Unfit("type")
    return number


def _timestamp(value: object) -> float:
    if type(value) is not str or value == "":
        return _missing(value)
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).timestamp()  # fails outside the years 1 to 9999
    except (ValueError, OverflowError):
        raise Unfit("type") from None


def _category_encoder(categories: tuple[str, ...]) -> Callable[[object], float]:
    positions = {category: float(position) for position, category in enumerate(categories)}

    def encode(value: object) -> float:
        text = value if type(value) is str and value else category_text(value)
        return math.nan if text is None else positions.get(text, UNSEEN)

    return encode


def _missing(value: object) -> float:
    """NaN for a value that means missing; raises `Unfit` for any other."""
    if value is None or value == "" or value != value:
        return math.nan
    raise Unfit("type")


def _required(encode: Callable[[object], float]) -> Callable[[object], float]:
    def encode_required(value: object) -> float:
        number = encode(value)
        if number != number:
            raise Unfit("missing")
        return number

    return encode_required


_ENCODERS: Mapping[Kind, Callable[[object], float]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
