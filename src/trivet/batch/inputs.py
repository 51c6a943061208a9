"""Input files and their columns, read before any row is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet

from trivet.errors import TableError
from trivet.rows.columns import absent_columns, plain_schema, require_columns
from trivet.rows.contract import Contract
from trivet.rows.sources import Source
from trivet.rows.text import BOM, LONGEST, Layout, read_fully, records

#: A CSV's header ends, and the fields of a JSON Lines file have all occurred, within so many bytes.
BEGINNING = 2**20


@dataclass(frozen=True)
class InputFile:
    """A source and its columns; rows of text start at a byte, in a line that has a number.

    ``rows`` is how many a file says it has, which Parquet alone does.
    """

    source: Source
    schema: pa.Schema
    layout: Layout = field(default_factory=Layout)
    start: int = 0
    line: int = 1
    rows: int | None = None


def open_input(source: Source, delimiter: str) -> InputFile:
    """Read what the columns are; raises `TableError` where there are none, or two of one name."""
    with source.open() as stream:
        if source.format == "csv":
            file = _open_csv(source, stream, delimiter)
        elif source.format == "jsonl":
            file = _open_jsonl(source, stream)
        elif source.format == "parquet":
            about = pa.parquet.read_metadata(stream)
            schema = plain_schema(about.schema.to_arrow_schema())
            file = InputFile(source, schema, rows=about.num_rows)
        else:
            file = InputFile(source, plain_schema(open_arrow(stream).schema))
    repeated = [name for name, count in Counter(file.schema.names).items() if count > 1]
    if repeated:
        raise TableError(
            f"{source.name}: column {repeated[0]!r} appears twice; rename one of the two"
        )
    return file


def absent_features(inputs: Sequence[InputFile], contract: Contract) -> list[str]:
    """Features that no input has, or one has not; raises `TableError` for an unusable one."""
    for each in inputs:
        for column in each.schema:
            if column.name in contract.feature_names and pa.types.is_nested(column.type):
                raise TableError(
                    f"{each.source.name}: column {column.name!r} holds {column.type}; a feature is "
                    "one value a row"
                )
    names = [
        name
        for each in inputs
        for name in absent_columns(each.schema.names, contract, each.source.name)
    ]
    return list(dict.fromkeys(names))


def carried_columns(
    inputs: Sequence[InputFile], contract: Contract, columns: tuple[str, ...] | None
) -> pa.Schema:
    """The columns to carry along: ``columns``, or all of any input that are no features.

    Raises `TableError` where one is not the same in two inputs.
    """
    features = set(contract.feature_names)
    found: dict[str, tuple[pa.Field, str]] = {}
    for each in inputs:
        require_columns(each.schema.names, columns or (), each.source.name)
        for column in each.schema:
            if column.name in features if columns is None else column.name not in columns:
                continue
            first, source = found.setdefault(column.name, (column, each.source.name))
            if column.type != first.type:
                raise TableError(
                    f"{each.source.name}: column {column.name!r} is {column.type}, but "
                    f"{first.type} in {source}; predict the two into outputs of their own"
                )
    return pa.schema([found[name][0] for name in columns or found])


def text_schema(names: Iterable[str]) -> pa.Schema:
    """The schema of a table whose columns are all text."""
    return pa.schema([(name, pa.string()) for name in names])


def open_arrow(stream: BinaryIO) -> Any:
    """The reader of an Arrow file, which can be entered anywhere, or of a stream, which can't."""
    beginning = stream.read(6)
    stream.seek(0)
    if beginning.startswith(b"FEA1"):
        raise pa.ArrowInvalid("it is Feather version 1; save it as version 2")
    is_file = beginning == b"ARROW1"
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _open_csv(source: Source, stream: BinaryIO, delimiter: str) -> InputFile:
    beginning = read_fully(source.decompressed(stream), BEGINNING)
    text = beginning.removeprefix(BOM)
    start, layout = len(beginning) - len(text), Layout(delimiter)
    for header in records(text, 1, layout):
        start += len(header.raw)
        if header.cells:
            break
    else:
        raise TableError(f"{source.name}: is empty; a CSV file starts with the columns' names")
    if len(header.raw) == BEGINNING:
        raise TableError(f"{source.name}: the header does not end; is it a CSV file?")
    try:
        names = [cell.encode("latin-1").decode() for cell in header.cells]
    except UnicodeDecodeError as error:
        raise TableError(f"{source.name}: its header is not UTF-8; save it as UTF-8") from error
    newline = b"\r" if header.raw.endswith(b"\r") else b"\n"
    layout = Layout(delimiter, newline)
    line = 1 + layout.lines(beginning[:start])
    return InputFile(source, text_schema(names), layout, start, line)


def _open_jsonl(source: Source, stream: BinaryIO) -> InputFile:
    text = source.decompressed(stream)
    beginning = read_fully(text, BEGINNING)
    if b"\n" not in beginning:
        beginning += read_fully(text, LONGEST)
    names: dict[str, None] = {}
    for line in beginning.removeprefix(BOM).splitlines():
        with suppress(ValueError, RecursionError):  # a row to be rejected, or cut off here
            record = json.loads(line)
            fields = record if isinstance(record, dict) else ()
            "".join(fields).encode()  # which half a character can't be
            names |= dict.fromkeys(fields)
    if not names:
        raise TableError(f"{source.name}: holds no row; each line should be a JSON object")
    start = len(BOM) if beginning.startswith(BOM) else 0
    return InputFile(source, text_schema(names), Layout(quoted=False), start)
