"""Predictions as they are written: their columns, the shard of a part, and all shards as one."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from trivet.batch.folder import Folder
from trivet.batch.parts import Part
from trivet.errors import TableError
from trivet.files import canonical
from trivet.model.predictor import Predictions
from trivet.rows.contract import Contract
from trivet.rows.text import Reject

REJECTED_COLUMNS = ("file", "line", "column", "reason", "row")
#: A row group of Parquet has so many bytes, or all rows of a part.
GROUP_BYTES = 64 * 2**20
#: What files of a directory of parts are called.
PART = re.compile(r"part-\d{5,}\.(csv|parquet)")
ShardFormat = Literal["csv", "csv with header", "parquet", "arrow"]


@dataclass(frozen=True)
class Output:
    """Where predictions go: one file, or a directory of parts, which is written ``name/``."""

    name: str
    address: str
    format: Literal["csv", "parquet"]
    directory: bool

    @classmethod
    def of(cls, text: str) -> Output:
        """The output that a text names; raises `TableError` for one that can't be written."""
        directory, address = text.endswith("/"), canonical(text)
        ending = PurePosixPath(address).suffix.lower()
        if directory and ending not in (".csv", ".parquet"):
            ending = ".parquet"
        if ending not in (".csv", ".parquet"):
            raise TableError(
                f"{text}: the file's name must end in .csv or .parquet; a directory of parts is "
                "written with a / at its end"
            )
        if not directory and Path(address).is_dir():
            raise TableError(f"{text}: is a directory; for a directory of parts write {text}/")
        if directory:
            others = [name for name in Folder(address).names() if not PART.fullmatch(name)]
            if others:
                raise TableError(
                    f"{text}: holds {others[0]}, which is no part of a batch and would be lost; "
                    "choose another directory"
                )
        return cls(text.rstrip("/"), address, "csv" if ending == ".csv" else "parquet", directory)

    def beside(self, ending: str) -> tuple[Folder, str]:
        """The file that goes with the output, of its name and an ``ending``: folder and name."""
        parent, _, name = self.address.rpartition("/")
        return Folder(parent or "/"), name + ending

    @property
    def shard(self) -> ShardFormat:
        """What the shards are, so that making them one is cheap."""
        if self.format == "csv":
            return "csv with header" if self.directory else "csv"
        return "parquet" if self.directory else "arrow"


def output_schema(contract: Contract, carried: pa.Schema) -> pa.Schema:
    """The columns of predictions: those carried along, the answers, and the model's version.

    Raises `TableError` where two would have the same name.
    """
    labels, answers = contract.target.labels, contract.target.answer_names
    kinds = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
    kind = kinds[type(labels[0])] if labels else pa.float64()
    added = [
        pa.field(answers[0], kind),
        *(pa.field(name, pa.float64()) for name in answers[1:]),
        pa.field("model_version", pa.string()),
    ]
    for field in added:
        if field.name in carried.names:
            raise TableError(
                f"column {field.name!r} would appear twice in the output; rename it, or leave it "
                "out with --columns"
            )
    return pa.schema([*carried, *added])


def require_plain(carried: pa.Schema) -> None:
    """Raise `TableError` for a column that cells of a CSV can't hold."""
    for column in carried:
        if pa.types.is_nested(column.type):
            raise TableError(
                f"column {column.name!r} holds {column.type}, which a CSV can't; write Parquet, or "
                "leave it out with --columns"
            )


def prediction_columns(predictions: Predictions, version: str, schema: pa.Schema) -> list[Any]:
    """The columns that are added to those carried along, as `output_schema` lists them."""
    count = len(predictions.values)
    shares = predictions.probabilities
    added = [] if shares is None else [pa.array(share) for share in shares.T]
    kind = schema.field("prediction").type
    versions = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [version])
    return [pa.array(predictions.values, kind), *added, versions.cast(pa.string())]


class CsvWriter:
    """Writes tables as CSV without a header; a text is quoted only where it needs to be."""

    def __init__(self, stream: Any, delimiter: str) -> None:
        self._stream, self._delimiter = stream, delimiter
        self._special = f'["\r\n{re.escape(delimiter)}]'

    def write(self, table: pa.Table) -> None:
        """Write some rows more."""
        options = pa.csv.WriteOptions(
            include_header=False, delimiter=self._delimiter, quoting_style="none"
        )
        buffer = io.BytesIO()
        try:
            pa.csv.write_csv(table, buffer, options)
        except pa.ArrowInvalid:  # a text holds a delimiter, a quote or a newline
            buffer = io.BytesIO(self._quoted(table))
        self._stream.write(buffer.getbuffer())

    def _quoted(self, table: pa.Table) -> bytes:
        cells = [self._as_cells(column) for column in table.columns]
        lines = pc.binary_join_element_wise(*cells, self._delimiter)
        return "".join(f"{line}\n" for line in lines.to_pylist()).encode()

    def _as_cells(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        cells = pc.fill_null(column.cast(pa.string()), "")
        doubled = pc.replace_substring(cells, '"', '""')
        quoted = pc.binary_join_element_wise('"', doubled, '"', "")
        return pc.if_else(pc.match_substring_regex(cells, self._special), quoted, cells)


@contextmanager
def shard_writer(
    stream: Any, shard: ShardFormat, schema: pa.Schema, delimiter: str
) -> Iterator[Any]:
    """What takes one part's tables of predictions, by its ``write``."""
    if shard == "parquet":
        with pa.parquet.ParquetWriter(stream, schema) as parquet:
            yield parquet
    elif shard == "arrow":
        with pa.ipc.new_file(stream, schema) as arrow:
            yield arrow
    else:
        if shard == "csv with header":
            stream.write(csv_header(schema.names, delimiter))
        yield CsvWriter(stream, delimiter)


def csv_header(names: Iterable[str], delimiter: str) -> bytes:
    """The first line of a CSV file."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(names)
    return line.getvalue().encode()


@contextmanager
def joining(stream: Any, output: Output, schema: pa.Schema, delimiter: str) -> Iterator[Any]:
    """A function that takes the shards of all parts as streams, in order, and makes them one."""
    if output.format == "csv":
        stream.write(csv_header(schema.names, delimiter))
        yield lambda shard: shutil.copyfileobj(shard, stream, 2**20)
        return
    with pa.parquet.ParquetWriter(stream, schema) as parquet:

        def join(shard: Any) -> None:
            reader = pa.ipc.open_file(shard)
            group: list[pa.RecordBatch] = []
            for at in range(reader.num_record_batches):
                group.append(reader.get_batch(at))
                last = at == reader.num_record_batches - 1
                if last or sum(batch.nbytes for batch in group) >= GROUP_BYTES:
                    parquet.write_table(pa.Table.from_batches(group))
                    group.clear()

        yield join


def rejected_csv(part: Part, rejects: Iterable[Reject]) -> bytes:
    """Rejected rows as CSV without a header; the bytes of a row are left as they were."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for reject in rejects:
        row = reject.raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        writer.writerow((part.file.source.name, reject.line, reject.column, reject.reason, row))
    return lines.getvalue().encode("utf-8", "surrogateescape")
