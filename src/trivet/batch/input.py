"""The input of a run as a whole: which features its files lack, and which columns are carried."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from trivet.errors import TableError, nearest
from trivet.rows.columns import absent_columns, require_columns
from trivet.rows.contract import Contract
from trivet.rows.readers.table import TableFile


def absent_features(files: Sequence[TableFile], contract: Contract) -> list[str]:
    """Features that a file has no column for; raises `TableError` for one that can't be used."""
    for each in files:
        for column in each.schema:
            if column.name in contract.feature_names and pa.types.is_nested(column.type):
                raise TableError(
                    f"{each.source.name}: column {column.name!r} holds {column.type}; a feature is "
                    "one value a row"
                )
    names = [
        name
        for each in files
        for name in absent_columns(each.schema.names, contract, each.source.name)
    ]
    return list(dict.fromkeys(names))


def carried_columns(
    files: Sequence[TableFile], contract: Contract, columns: tuple[str, ...] | None
) -> pa.Schema:
    """The columns to carry: ``columns``, or all of any file that are no features.

    Raises `TableError` for one that a file lacks, or that has another type in another file.
    """
    features = set(contract.feature_names)
    found: dict[str, tuple[pa.Field, str]] = {}
    for each in files:
        names = each.schema.names
        later = [name for name in columns or () if name not in names and _may_come(name, each)]
        require_columns(
            names, [name for name in columns or () if name not in later], each.source.name
        )
        for column in [*each.schema, *(pa.field(name, pa.string()) for name in later)]:
            if column.name in features if columns is None else column.name not in columns:
                continue
            first, source = found.setdefault(column.name, (column, each.source.name))
            if pa.types.is_null(first.type):  # it has no values there
                found[column.name] = column, each.source.name
            elif column.type != first.type and not pa.types.is_null(column.type):
                raise TableError(
                    f"{each.source.name}: column {column.name!r} is {column.type}, but "
                    f"{first.type} in {source}; predict the two into outputs of their own"
                )
    return pa.schema([found[name][0] for name in dict.fromkeys(columns or found)])


def _may_come(name: str, file: TableFile) -> bool:
    """Whether a column that a file doesn't show at its beginning may come later in it."""
    return not file.complete and not nearest(name, file.schema.names)
