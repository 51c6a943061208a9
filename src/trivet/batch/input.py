"""The input as a whole: which features its files lack, and which columns are carried along."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from trivet.errors import TableError, nearest
from trivet.rows.columns import require_columns, require_features
from trivet.rows.contract import Contract
from trivet.rows.readers.table import TableFile


def absent_features(files: Sequence[TableFile], contract: Contract) -> list[str]:
    """Features that at least one file has no column for.

    Raises `TableError` if such a feature is required or seems to be misspelt, or if a column of
    another file holds no single values.
    """
    absent: dict[str, None] = {}
    for file in files:
        name, schema = file.source.name, file.schema
        absent |= dict.fromkeys(require_features(schema.names, contract, name))
        for feature in contract.feature_names:
            if feature in schema.names and pa.types.is_nested(kind := schema.field(feature).type):
                raise TableError(
                    f"{name}: column {feature!r} holds {kind}; a feature is one value per row"
                )
    return list(absent)


def carried_columns(
    files: Sequence[TableFile], contract: Contract, columns: Sequence[str] | None, coded: bool
) -> pa.Schema:
    """The columns to carry along: those that are named, or all that are not features.

    If the output can be ``coded``, a column that is a dictionary in all files stays one. Raises
    `TableError` if a file lacks a named column, or if two files differ in the type of one.
    """
    found: dict[str, tuple[pa.Field, str]] = {}
    for file in files:
        name, present = file.source.name, file.schema.names
        left_out = contract.feature_names if columns is None else set(present).difference(columns)
        fields = [field for field in file.schema if field.name not in left_out]
        for wanted in columns or ():
            if file.complete or nearest(wanted, present):
                require_columns(present, (wanted,), name)
            elif wanted not in present:  # it may still come, further on in the file
                fields.append(pa.field(wanted, pa.string()))
        for field in fields:
            first, source = found.setdefault(field.name, (field, name))
            if pa.types.is_null(first.type):  # a column without values fits any type
                found[field.name] = field, name
            elif field.type != first.type and not pa.types.is_null(field.type):
                raise TableError(
                    f"{name}: column {field.name!r} is {field.type}, but {first.type} in {source}; "
                    "predict the two into separate outputs"
                )
    fields = [found[name][0] for name in dict.fromkeys(columns or found)]
    return pa.schema([_coded(field, files) if coded else field for field in fields])


def _coded(field: pa.Field, files: Sequence[TableFile]) -> pa.Field:
    kinds = {file.coded.get(field.name) for file in files if field.name in file.schema.names}
    [kind] = kinds if len(kinds) == 1 else [None]
    return field if kind is None else field.with_type(kind)
