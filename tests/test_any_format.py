"""A table means the same in every format: to training, to a batch, and to a request."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import encoded, read_csv, ready_client
from tests.online.asking import tensors
from trivet.api import LoadedModel, batch_predict, load, train
from trivet.online.settings import ServeSettings
from trivet.rows.arrays import EncodedRows
from trivet.rows.contract import Contract
from trivet.rows.records import RecordEncoder
from trivet.rows.sources import find_sources
from trivet.train.infer import infer_contract
from trivet.train.settings import TrainSettings
from trivet.train.table import read_training_table
from trivet.train.target import infer_target

#: Values by column. ``code`` and ``part`` are numbers that name something.
Table = Mapping[str, list[Any]]
KINDS: Any = {"code": "category", "part": "category"}
TYPES = {
    "code": pa.int64(),
    "part": pa.float64(),
    "word": pa.string(),
    "share": pa.float64(),
    "count": pa.int64(),
    "flag": pa.bool_(),
    "moment": pa.timestamp("us"),
    "y": pa.float64(),
}
MOMENT = datetime(2013, 11, 1)
WORDS = ("NA", "n/a", "NaN", "null", " None ", "")


def as_csv(path: Path, table: Table, point: str, missing: str) -> Path:
    """A CSV whose whole codes are written as 7, 7.0 or 7.00."""

    def cell(name: str, value: Any) -> Any:
        if value is None:
            return missing
        whole = name in KINDS and float(value).is_integer()
        return f"{int(value)}{point}" if whole else value

    columns = ([cell(name, value) for value in values] for name, values in table.items())
    rows = zip(*columns, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*table], *rows])
    return path


def as_json_lines(path: Path, table: Table, number: type, missing: object) -> Path:
    """JSON Lines whose whole codes are written as 7, 7.0 or "7"."""

    def value_of(name: str, value: Any) -> Any:
        if value is None:
            return missing
        if name in KINDS and float(value).is_integer():
            return number(int(value))
        if name == "part":
            return number(value) if number is str else value
        return value.isoformat() if isinstance(value, datetime) else value

    columns = [[value_of(name, value) for value in values] for name, values in table.items()]
    records = (dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True))
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def as_parquet(path: Path, table: Table, code: pa.DataType, part: pa.DataType) -> Path:
    arrow = arrow_table(table)
    for name, kind in (("code", code), ("part", part)):
        column = arrow[name].cast(kind, safe=False)
        arrow = arrow.set_column(arrow.column_names.index(name), name, column)
    pa.parquet.write_table(arrow, path)
    return path


def as_arrow(path: Path, table: Table) -> Path:
    arrow = arrow_table(table)
    arrow = arrow.set_column(0, "code", arrow["code"].cast(pa.float64()).dictionary_encode())
    arrow = arrow.set_column(2, "word", arrow["word"].fill_null("NA").dictionary_encode())
    with pa.ipc.new_file(path, arrow.schema) as file:
        file.write_table(arrow)
    return path


def arrow_table(table: Table) -> pa.Table:
    return pa.table({name: pa.array(table[name], kind) for name, kind in TYPES.items()})


def in_every_format(folder: Path, table: Table) -> Iterator[Path]:
    """The same table in files that differ in how its values are written."""
    for at, (point, missing) in enumerate(zip(("", ".0", ".00") * 2, WORDS, strict=True)):
        yield as_csv(folder / f"{at}.csv", table, point, missing)
    for at, number in enumerate((int, float, str)):
        yield as_json_lines(folder / f"{at}.jsonl", table, number, ("NA", None, "null")[at])
    types = (
        (pa.int8(), pa.float64()),
        (pa.float64(), pa.float32()),
        (pa.decimal128(25, 2), pa.decimal128(20, 4)),
        (pa.float32(), pa.float64()),
    )
    for at, (code, part) in enumerate(types):
        yield as_parquet(folder / f"{at}.parquet", table, code, part)
    yield as_arrow(folder / "0.arrow", table)


def contract_of(path: Path) -> Contract:
    """The contract that training on all rows of a file infers."""
    told = TrainSettings(path, "y", kinds=KINDS, task="regression")
    reading = read_training_table(told, find_sources(str(path), Path("unused")), lambda *_: None)
    target, values, *_ = infer_target(reading.table, told)
    every = np.ones(len(values), dtype=bool)
    return infer_contract(reading.table, target, every, ~every, told)[0]


def rows(codes: st.SearchStrategy[int]) -> st.SearchStrategy[Table]:
    values: dict[str, st.SearchStrategy[Any]] = {
        "code": codes,
        "part": codes.map(lambda code: code + code % 4 / 4),
        "word": st.sampled_from(["AA", "b c", "ü,x", "7th"]),
        "share": st.integers(-999, 999).map(lambda number: number / 8),
        "count": st.integers(-(10**9), 10**9),
        "flag": st.booleans(),
        "moment": st.integers(0, 10**6).map(lambda minutes: MOMENT + timedelta(minutes=minutes)),
    }
    row = st.tuples(*(st.none() | each for each in values.values()), st.sampled_from([0.5, 1.0]))
    return st.lists(row, min_size=6, max_size=24).map(
        lambda drawn: dict(zip(TYPES, map(list, zip(*drawn, strict=True)), strict=True))
    )


@settings(max_examples=25, deadline=None)
@given(rows(st.integers(-3, 9)))
def test_training_infers_one_contract_from_every_format(table: Table) -> None:
    table = {**table, "word": ["AA", "b c", *table["word"][2:]], "code": [7, 8, *table["code"][2:]]}
    with TemporaryDirectory() as folder:
        contracts = [
            (path.name, contract_of(path)) for path in in_every_format(Path(folder), table)
        ]
    for name, contract in contracts:
        assert contract == contracts[0][1], name


def training_table() -> Table:
    draw = np.random.default_rng(0)
    code = draw.integers(1, 9, 400)
    table = {
        "code": code.tolist(),
        "part": (draw.integers(1, 5, 400) + draw.integers(0, 4, 400) / 4).tolist(),
        "word": draw.choice(["AA", "b c", "ü,x"], 400).tolist(),
        "share": (draw.integers(-99, 99, 400) / 8).tolist(),
        "count": draw.integers(0, 10**6, 400).tolist(),
        "flag": draw.choice([True, False], 400).tolist(),
        "moment": [MOMENT + timedelta(minutes=7 * row) for row in range(400)],
        "y": [float(value) for value in (code % 2) ^ (draw.random(400) < 0.1)],
    }
    for name in [*table][:-1]:
        for row in draw.choice(400, 40, replace=False).tolist():
            table[name][row] = None
    return table


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on float codes of a Parquet table."""
    folder = tmp_path_factory.mktemp("any")
    table = as_parquet(folder / "t.parquet", training_table(), pa.float64(), pa.float64())
    train(table, "y", kinds=KINDS, estimator="logistic", models_dir=folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def model(store: Path) -> LoadedModel:
    return load(models_dir=store)


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[TestClient]:
    with ready_client(ServeSettings(models_dir=store)) as client:
        yield client


@settings(max_examples=15, deadline=None)
@given(table=rows(st.integers(-3, 12)))
def test_rows_are_encoded_alike_from_every_format(model: LoadedModel, table: Table) -> None:
    with TemporaryDirectory() as folder:
        for path in in_every_format(Path(folder), table):
            np.testing.assert_array_equal(
                encoded(path, model.contract), encoded_records(model, table), path.name
            )


def encoded_records(model: LoadedModel, table: Table) -> EncodedRows:
    columns = [
        [value.isoformat() if isinstance(value, datetime) else value for value in table[name]]
        for name in model.contract.feature_names
    ]
    names = model.contract.feature_names
    records = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return RecordEncoder(model.contract).encode(records)


def test_batches_requests_and_frames_give_the_same_answers(
    store: Path, model: LoadedModel, client: TestClient, tmp_path: Path
) -> None:
    table = {name: values[:200] for name, values in training_table().items()}
    files = list(in_every_format(tmp_path, table))
    answers = {}
    for path in files:
        out = tmp_path / "out" / f"{path.name}.csv"
        out.parent.mkdir(exist_ok=True)
        assert batch_predict(path, out, models_dir=store).rejected == 0
        answers[path.name] = [float(row["probability_1"]) for row in read_csv(out)]
    for path in files:
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            answers[f"POST {path.name}"] = asked(client, records)
            answers[f"V2 {path.name}"] = asked_by_tensors(client, records)
        elif path.suffix == ".csv":
            headers = {"Content-Type": "text/csv"}
            found = client.post("/predict", content=path.read_bytes(), headers=headers).json()
            answers[f"POST {path.name}"] = probabilities(found)
    frame = arrow_table(table).to_pandas()  # codes with gaps are float64
    answers["frame"] = model.predict(frame)["probability_1"].tolist()
    frame["code"] = frame["code"].astype("Int64").astype("category")
    frame["word"] = frame["word"].fillna("NA")
    frame["part"] = [None if pd.isna(part) else Decimal(f"{part:.2f}") for part in frame["part"]]
    answers["nullable frame"] = model.predict(frame)["probability_1"].tolist()
    expected = answers.pop("0.parquet")
    assert len(set(expected)) > 100
    for name, given_by in answers.items():
        np.testing.assert_allclose(given_by, expected, rtol=1e-12, err_msg=name)


def probabilities(answer: Any) -> list[float]:
    return [each["probabilities"]["1"] for each in answer["predictions"]]


def asked(client: TestClient, records: list[Any]) -> list[float]:
    return probabilities(client.post("/predict", json={"instances": records}).json())


def asked_by_tensors(client: TestClient, records: list[Any]) -> list[float]:
    columns = {name: without_words([each[name] for each in records]) for name in TYPES}
    rows = zip(*columns.values(), strict=True)
    inputs = tensors([dict(zip(columns, row, strict=True)) for row in rows])
    answer = client.post("/v2/models/model/infer", json={"inputs": inputs}).json()
    (found,) = (each for each in answer["outputs"] if each["name"] == "probability_1")
    return list(found["data"])


def without_words(values: list[Any]) -> list[Any]:
    """Null in place of words for a missing value: a tensor has no text among its numbers."""
    if {type(value) for value in values} <= {str, type(None)}:
        return values
    return [None if isinstance(value, str) else value for value in values]


Write = Callable[[Path, list[Any]], object]


def csv_of(path: Path, sexes: list[Any]) -> None:
    lines = [f"{'' if sex is None else sex},{n % 7}\n" for n, sex in enumerate(sexes)]
    path.write_text("".join(["sex,n\n", *lines]))


def json_lines_of(path: Path, sexes: list[Any]) -> None:
    lines = [json.dumps({"sex": sex, "n": n % 7}) for n, sex in enumerate(sexes)]
    path.write_text("\n".join(lines))


def parquet_of(path: Path, sexes: list[Any]) -> None:
    numbers = [n % 7 for n in range(len(sexes))]
    pa.parquet.write_table(pa.table({"sex": sexes, "n": numbers}), path)


@pytest.mark.parametrize(
    ("name", "write"), [("t.csv", csv_of), ("t.jsonl", json_lines_of), ("t.parquet", parquet_of)]
)
def test_na_in_the_target_is_no_label(name: str, write: Write, tmp_path: Path) -> None:
    write(tmp_path / name, ["male", "female", "NA", "female"] * 40)
    options: Any = {"estimator": "logistic", "models_dir": tmp_path / "models"}
    result = train(tmp_path / name, "sex", **options)
    assert result.manifest.contract.target.labels == ("female", "male")
    assert result.manifest.data.rows.without_target == 40
    assert result.manifest.data.missing_words == {"sex": {"NA": 40}}
    kept = train(tmp_path / name, "sex", na_values=(), **options)
    assert kept.manifest.contract.target.labels == ("NA", "female", "male")
    assert kept.manifest.contract.missing_words == ()
    assert kept.manifest.data.missing_words == {}


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_identifiers_are_carried_with_every_digit(
    store: Path, name: str, output: str, tmp_path: Path
) -> None:
    table = {column: values[:5] for column, values in training_table().items()}
    ids = ["NA", "007", "7.0"] if name == "in.csv" else [2**63 + 1, 2**64 - 1, 2**53 + 1]
    arrow = (
        arrow_table(table)
        .slice(0, 3)
        .append_column("key", pa.array(ids, None if name == "in.csv" else pa.uint64()))
    )
    if name == "in.parquet":
        pa.parquet.write_table(arrow, tmp_path / name)
    elif name == "in.csv":
        arrow.to_pandas().to_csv(tmp_path / name, index=False)
    else:
        arrow.to_pandas().to_json(tmp_path / name, orient="records", lines=True, date_format="iso")
    batch_predict(tmp_path / name, tmp_path / output, models_dir=store, columns=["key"])
    if output == "out.csv":
        carried = [row["key"] for row in read_csv(tmp_path / output)]
    else:
        carried = [str(key) for key in pa.parquet.read_table(tmp_path / output)["key"].to_pylist()]
    assert carried == [*map(str, ids)]
