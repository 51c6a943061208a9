"""Tables with any number of flights, and the check of what a contestant predicted for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
from contestants import CACHE, ROOT
from numpy.typing import NDArray
from processes import FailedError

Numbers, Labels, Floats = NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]

FLIGHTS = ROOT / "data/flights_train.csv"
TABLES = CACHE / "tables"
#: Rows per row group, as pyarrow has it by default.
ROW_GROUP = 1024 * 1024
TOLERANCE = 1e-9
ANSWERS = ["flight_id", "prediction", "probability_false", "probability_true"]


def make_table(rows: int, ending: str) -> Path:
    """A table that repeats the training flights, each under its own id; made once."""
    path = table_path(rows, ending)
    if path.exists():
        return path
    print(f"making {path.name}", flush=True)
    TABLES.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    tables = repeated(read_flights(as_text=ending == "csv"), rows)
    first = next(tables)
    with open_writer(aside, first.schema, ending) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    return aside.replace(path)


def table_path(rows: int, ending: str) -> Path:
    return TABLES / f"flights-{rows}.{ending}"


def read_flights(as_text: bool) -> pa.Table:
    """The flights with the types that pyarrow infers, or as the exact text of the CSV."""
    if not as_text:
        return pa.csv.read_csv(FLIGHTS)
    with pa.csv.open_csv(FLIGHTS) as reader:
        text = dict.fromkeys(reader.schema.names, pa.string())
    return pa.csv.read_csv(FLIGHTS, convert_options=pa.csv.ConvertOptions(column_types=text))


def repeated(flights: pa.Table, rows: int) -> Iterator[pa.Table]:
    """Tables of one row group each; each id ends with the number of the repetition."""
    position = flights.column_names.index("flight_id")
    for start in range(0, rows, ROW_GROUP):
        numbers = np.arange(start, min(start + ROW_GROUP, rows))
        group = flights.take(pa.array(numbers % len(flights)))
        turns = pa.array(numbers // len(flights)).cast(pa.string())
        ids = pc.binary_join_element_wise(group.column(position), turns, "-")
        yield group.set_column(position, "flight_id", ids)


def open_writer(path: Path, schema: pa.Schema, ending: str):
    if ending == "parquet":
        return pa.parquet.ParquetWriter(path, schema)
    plain = pa.csv.WriteOptions(quoting_style="none", quoting_header="none")
    return pa.csv.CSVWriter(path, schema, write_options=plain)


@dataclass(frozen=True)
class Expected:
    """The predictions of naive pandas for the training flights, which all tables repeat."""

    ids: pa.Array
    labels: Labels
    probabilities: Floats

    @classmethod
    def read(cls, path: Path) -> Expected:
        table = pa.parquet.read_table(path, columns=ANSWERS).combine_chunks()
        ids = pc.replace_substring_regex(table.column("flight_id"), "-0$", "")
        return cls(ids.combine_chunks(), *_answers(table))

    def check(self, path: Path, rows: int, in_order: bool) -> None:
        """Raise `FailedError` unless a file, or folder of files, has these answers to all rows."""
        seen, count = np.zeros(rows, dtype=bool), 0
        answers = pyarrow.dataset.dataset(path, format=path.suffix[1:])
        for batch in answers.to_batches(columns=ANSWERS):
            flights, numbers = self._find(batch.column("flight_id"))
            if (numbers >= rows).any():
                raise FailedError("an answer has the id of no flight")
            self.compare(flights, *_answers(batch))
            if in_order and (numbers != np.arange(count, count + len(numbers))).any():
                raise FailedError("the flights are not in order")
            seen[numbers] = True
            count += len(numbers)
        if count != rows or not seen.all():
            raise FailedError(f"{count} answers for {rows} flights, of which {seen.sum()} have one")

    def check_json(self, path: Path, rows: int) -> None:
        """As `check`, for what MLflow writes: only probabilities, in order."""
        found = np.array(json.loads(path.read_text())["predictions"])
        if found.shape != (rows, 2):
            raise FailedError(f"answers of shape {found.shape} for {rows} flights")
        self.compare(np.arange(rows) % len(self.ids), found.argmax(axis=1) == 1, found)

    def compare(self, flights: Numbers, labels: Labels, probabilities: Floats) -> None:
        """Raise `FailedError` unless these are the answers for the training flights ``flights``."""
        if (labels != self.labels[flights]).any():
            raise FailedError("labels differ from those of naive pandas")
        apart = np.abs(probabilities - self.probabilities[flights]).max(initial=0)
        if not apart <= TOLERANCE:
            raise FailedError(f"probabilities differ from those of naive pandas by {apart}")

    def _find(self, ids: pa.Array) -> tuple[Numbers, Numbers]:
        """For ids in a table: the numbers of their training flights, and of their rows."""
        halves = pc.extract_regex(ids, r"^(?P<flight>.*)-(?P<turn>\d+)$")
        flights = pc.index_in(pc.struct_field(halves, "flight"), self.ids)
        if flights.null_count:
            raise FailedError("an answer has the id of no flight")
        flights = flights.to_numpy()
        turns = pc.struct_field(halves, "turn").cast(pa.int64()).to_numpy()
        return flights, turns * len(self.ids) + flights


def _answers(table: pa.Table | pa.RecordBatch) -> tuple[Labels, Floats]:
    _, labels, *probabilities = (table.column(name) for name in ANSWERS)
    numbers = [column.to_numpy() for column in probabilities]
    return np.asarray(labels), np.column_stack(numbers)
