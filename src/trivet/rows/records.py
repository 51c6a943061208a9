"""Records of JSON values as rows, in the encoding that `trivet.rows.values` defines.

Few records are encoded row by row, many column by column, which looks at no value by itself where
all of a column have plain types. Where there may be a fault, it gives up, and row by row finds all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain, islice, repeat
from typing import Any, cast

import numpy as np

from trivet.errors import Fault, RecordsRejected, nearest, shortened
from trivet.rows.arrays import EncodedRows, Rows
from trivet.rows.contract import ROW_LABELS, Contract, Kind
from trivet.rows.values import FAULTS_LISTED, Encoder, Unfit, column_encoder, expected_of

#: The most unknown fields of a request that are compared with the known ones, which is slow.
SUGGESTIONS = 20
#: Up to this many records, encoding row by row is faster than column by column.
FEW_ROWS = 12
#: The types of values that numpy takes for their numbers, None for NaN. What else their kind asks
#: of a number is checked of all together.
OWN_NUMBERS: Mapping[Kind, frozenset[type]] = {
    "number": frozenset({float, int, type(None)}),
    "integer": frozenset({float, int, type(None)}),
    "boolean": frozenset({bool, type(None)}),
}
#: The types of which equal values mean the same; of others, 1 and True are equal.
TEXTS = frozenset({str, type(None)})


class RecordEncoder:
    """Turns records into rows of floats, or lists their faults."""

    def __init__(self, contract: Contract) -> None:
        words = contract.missing_words
        self._encoders = [(each.name, column_encoder(each, words)) for each in contract.columns]
        self._kinds = [each.kind for each in contract.columns]
        self._whole = [at for at, kind in enumerate(self._kinds) if kind == "integer"]
        self._required = [at for at, each in enumerate(contract.columns) if not each.nullable]
        self._expected = {column.name: expected_of(column) for column in contract.columns}
        self._known = contract.known_names | ROW_LABELS
        self._nearest = lru_cache(100)(partial(nearest, known=self._expected))

    def encode(self, records: Sequence[object]) -> EncodedRows:
        """Encode records in order; the result is rows x features.

        Raises `RecordsRejected` with the faults, up to `FAULTS_LISTED`.
        """
        by_column = self._by_column(records) if len(records) > FEW_ROWS else None
        return self._by_row(records) if by_column is None else by_column

    def _by_column(self, records: Sequence[object]) -> Rows | None:
        """What `_by_row` gives, in less time; None if there may be a fault."""
        if set(map(type, records)) != {dict}:
            return None
        columns = np.empty((len(self._encoders), len(records)))
        values = self._columns_of(cast("Sequence[dict[str, object]]", records))
        try:
            encoders = (encode for _, encode in self._encoders)
            for at, numbers in enumerate(map(_numbers_of, values, self._kinds, encoders)):
                columns[at] = np.fromiter(numbers, np.float64, len(records))
        except (Unfit, TypeError, OverflowError):
            return None
        whole = columns[self._whole]
        unfit = (
            np.isinf(columns).any()
            or np.isnan(columns[self._required]).any()
            or (np.floor(whole) < whole).any()
        )
        return None if unfit else columns.T

    def _columns_of(self, records: Sequence[dict[str, object]]) -> Iterator[Sequence[object]]:
        """The values of each feature; raises `Unfit` for an unknown field."""
        layout = list(records[0])
        alike = all(map(layout.__eq__, map(list, records)))  # as a program writes them
        if not self._known.issuperset(layout if alike else chain.from_iterable(records)):
            raise Unfit("unknown_field")
        values = zip(*map(dict.values, records), strict=True) if alike else ()
        columns = dict(zip(layout, values, strict=True)) if alike else {}
        for name, _ in self._encoders:
            yield columns.get(name) or tuple(map(dict.get, records, repeat(name)))

    def _by_row(self, records: Iterable[object]) -> list[list[float]]:
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
        unknown = (name for name in record if name not in self._known)
        for count, name in enumerate(map(shortened, unknown)):
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


def _numbers_of(values: Sequence[object], kind: Kind, encode: Encoder) -> Iterable[Any]:
    """What `np.fromiter` takes for the numbers of a column's values; it may raise `Unfit`.

    The caller has to check that they are finite, whole and present where they must be.
    """
    each = list(map(type, values))
    types = {each[0]} if each.count(each[0]) == len(each) else set(each)  # mostly one: no hashing
    if types <= OWN_NUMBERS.get(kind, frozenset()):
        return values
    if types <= TEXTS:
        return map({value: encode(value) for value in set(values)}.__getitem__, values)
    return map(encode, values)
