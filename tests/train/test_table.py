"""What training reads, from any format, and what it sets aside."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from tests.conftest import FLIGHTS, TRIVET, read_csv, run_trivet, write_csv
from trivet.errors import TableError, TooManyRejected, TrainingError, TrivetError
from trivet.model.artifact import Manifest
from trivet.model.store import ModelStore
from trivet.rows.rejects import MaxRejected
from trivet.rows.sources import find_sources
from trivet.train.run import train
from trivet.train.settings import TrainSettings
from trivet.train.table import Reading, read_training_table

HEADER = ["id", "code", "x", "when", "flag", "y"]
ROWS: list[list[Any]] = [
    [n, f"C{n % 5}", n % 70 + 0.5, f"2013-01-{n % 28 + 1:02}T00:00:00Z", n % 3 == 0, n % 2]
    for n in range(400)
]
Write = Callable[[Path], object]


def as_json_lines(path: Path) -> None:
    rows = (dict(zip(HEADER, row, strict=True)) for row in ROWS)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table() -> pa.Table:
    columns = [pa.array([row[at] for row in ROWS]) for at in range(len(HEADER))]
    when = columns[3].cast(pa.timestamp("us", "UTC"))
    return pa.table([*columns[:3], when, *columns[4:]], HEADER)


def as_csv(path: Path, delimiter: str = ",", newline: str = "\n") -> None:
    lines: list[list[Any]] = [HEADER, *ROWS]
    path.write_text(
        "".join(delimiter.join(map(str, line)) + newline for line in lines), encoding="utf-8"
    )


def as_arrow(path: Path) -> None:
    with pa.ipc.new_file(path, table().schema) as writer:
        writer.write_table(table())


def as_gzip(path: Path) -> None:
    as_csv(path.with_suffix(""))
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    path.with_suffix("").unlink()


def in_two(path: Path) -> None:
    path.mkdir()
    pa.parquet.write_table(table().slice(0, 150), path / "a.parquet")
    pa.parquet.write_table(table().slice(150), path / "b.parquet", row_group_size=40)


def settings(tmp_path: Path, data: Path | str, **options: Any) -> TrainSettings:
    options = {"identifiers": ("id",), "kinds": {"flag": "boolean"}, **options}
    return TrainSettings(data, "y", estimator="logistic", models_dir=tmp_path / "models", **options)


def metrics_of(tmp_path: Path, data: Path | str, **options: Any) -> Manifest:
    return train(settings(tmp_path, data, **options)).manifest


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [
        ("in.tsv", lambda path: as_csv(path, "\t"), {}),
        ("in.csv", lambda path: as_csv(path, ";"), {"delimiter": ";"}),
        ("in.csv", lambda path: as_csv(path, newline="\r\n"), {}),
        ("in.csv.gz", as_gzip, {}),
        ("in.jsonl", as_json_lines, {}),
        ("in.arrow", as_arrow, {}),
        ("in.parquet", lambda path: pa.parquet.write_table(table(), path), {}),
        ("folder", in_two, {}),
        ("folder/*.parquet", lambda path: in_two(path.parent), {}),
    ],
    ids=["tsv", "semicolon", "crlf", "gzip", "jsonl", "arrow", "parquet", "directory", "glob"],
)
def test_every_format_trains_the_same_model(
    tmp_path: Path, name: str, write: Write, options: dict[str, Any]
) -> None:
    as_csv(tmp_path / "plain.csv")
    plain = metrics_of(tmp_path, tmp_path / "plain.csv")
    write(tmp_path / name)
    other = metrics_of(tmp_path, f"{tmp_path}/{name}", **options)
    assert other.contract == plain.contract
    assert other.metrics == plain.metrics
    assert other.data.rows == plain.data.rows


def test_standard_input_is_a_table_too(tmp_path: Path) -> None:
    as_csv(tmp_path / "plain.csv")
    options = ["--target", "y", "--id", "id", "--model", "m", "--estimator", "logistic"]
    with (tmp_path / "plain.csv").open("rb") as table:
        done = subprocess.run(
            [TRIVET, "train", "--data", "-", *options],
            cwd=tmp_path,
            stdin=table,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "400 rows" in done.stdout
    named = run_trivet("train", "--data", "plain.csv", *options, cwd=tmp_path)
    assert named.stdout.startswith("up to date")


@pytest.mark.slow
def test_an_object_store_is_read(tmp_path: Path, bucket: str) -> None:
    import s3fs

    as_csv(tmp_path / "plain.csv")
    s3fs.S3FileSystem().put(f"{tmp_path}/plain.csv", f"{bucket}/in/table.csv")
    near = metrics_of(tmp_path, tmp_path / "plain.csv")
    far = train(settings(tmp_path, f"{bucket}/in/*.csv"))
    assert not far.trained  # the same bytes are the same version
    assert far.manifest.version == near.version
    again = train(settings(tmp_path, f"{bucket}/in/table.csv", force=True))
    assert (again.manifest.data.file, again.manifest.metrics) == (
        f"{bucket}/in/table.csv",
        near.metrics,
    )


def test_rows_that_are_none_are_set_aside_with_file_line_and_reason(tmp_path: Path) -> None:
    as_csv(tmp_path / "in.csv")
    lines = (tmp_path / "in.csv").read_bytes().splitlines(keepends=True)
    lines[10:10] = [b"1,2\n", b"7,caf\xe9,1.5,2013-01-01,True,1\n"]
    (tmp_path / "in.csv").write_bytes(b"".join(lines))
    result = train(settings(tmp_path, tmp_path / "in.csv"))
    rows = result.manifest.data.rows
    assert (rows.total, rows.rejected) == (400, {"too few cells": 1, "code: not UTF-8": 1})
    home = tmp_path / "models/model" / result.manifest.version
    set_aside = (home / "rejected.csv").read_text(encoding="utf-8", errors="surrogateescape")
    assert set_aside.splitlines() == [
        "file,line,column,reason,row",
        f'{tmp_path}/in.csv,11,,too few cells,"1,2"',
        f'{tmp_path}/in.csv,12,code,not UTF-8,"7,caf\udce9,1.5,2013-01-01,True,1"',
    ]
    assert "rejected 1: too few cells (see rejected.csv)" in (home / "report.md").read_text()
    ModelStore(tmp_path / "models").artifact("model").verify_files()


def test_too_many_rejected_rows_end_training_and_name_the_first(tmp_path: Path) -> None:
    as_csv(tmp_path / "in.csv")
    with (tmp_path / "in.csv").open("a") as file:
        file.write("1,2\n" * 10)
    with pytest.raises(
        TooManyRejected, match=r"10 of 410 rows, .*first is .*in\.csv, line 402: too"
    ):
        train(settings(tmp_path, tmp_path / "in.csv"))
    allowed = MaxRejected(10)
    assert train(settings(tmp_path, tmp_path / "in.csv", max_rejected=allowed)).trained
    strict = settings(tmp_path, tmp_path / "in.csv", max_rejected=MaxRejected(0), seed=1)
    with pytest.raises(TooManyRejected, match=r"10 of 410 rows, .* --max-rejected"):
        train(strict)
    options = ("--target", "y", "--id", "id", "--max-rejected", "0.1%")
    assert run_trivet("train", "--data", "in.csv", *options, cwd=tmp_path).returncode == 3


def test_a_bad_cell_is_named_by_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    as_csv(tmp_path / "in/a.csv")
    lines = (tmp_path / "in/a.csv").read_text().splitlines(keepends=True)
    lines[3] = "\n" + lines[3]  # a blank line is no row
    lines[7] = "ragged\n" + lines[7].replace("C", '"C\nC"', 1)  # one that is two lines long
    lines[9] = "8,C1,oops,2013-01-01T00:00:00Z,True,1\n"
    (tmp_path / "in/b.csv").write_text("".join(lines))
    at = rf"{tmp_path}/in/b\.csv: line 13, column 'x': 'oops' is not a finite number"
    with pytest.raises(TrainingError, match=at):
        train(settings(tmp_path, tmp_path / "in"))
    with pytest.raises(TableError, match=at):
        train(settings(tmp_path, tmp_path / "in", kinds={"x": "number"}))


def read(data: Path, **options: Any) -> Reading:
    sources = find_sources(str(data), data.parent / "unused")
    settings = TrainSettings(data, "y", max_rejected=MaxRejected(0), **options)
    return read_training_table(settings, sources, lambda *_: None)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2.5, None], "double"),
        ([1, 2**70, 3], "double"),
        ([1, "b", 2.0], "string"),
        (["", "b", None], "string"),
        ([True, None, False], "bool"),
        ([None, None, float("nan")], "null"),
    ],
)
def test_values_of_json_become_columns_of_one_type(
    tmp_path: Path, values: list[object], kind: str
) -> None:
    lines = [json.dumps({"x": value}) for value in values]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    column = read(tmp_path / "in.jsonl").table.columns["x"]
    assert str(column.type) == kind
    assert column.is_empty == (kind == "null")


@pytest.mark.parametrize("values", [[True, "x"], [[1], [2]], [{"a": 1}, {}], [1.5, "b"]])
def test_values_that_no_column_holds_are_left_out_with_the_reason(
    tmp_path: Path, values: list[object]
) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    lines = [{**row, "odd": values[n % len(values)]} for n, row in enumerate(rows)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = metrics_of(tmp_path, tmp_path / "in.jsonl")
    [reason] = [each.reason for each in manifest.contract.left_out if each.name == "odd"]
    assert reason.startswith("values of ")
    assert reason.endswith("can't be a feature")


def test_a_field_that_comes_late_was_missing_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.BLOCK_BYTES", 50)
    rows = [{"x": n, **({"z": n} if n > 30 else {})} for n in range(40)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read(tmp_path / "in.jsonl").table
    assert table.names == ["x", "z"]
    assert table.columns["z"].count(np.ones(40, dtype=bool)) == 9


@pytest.mark.parametrize("block", [100, 2**22])
def test_a_sample_is_the_same_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.BLOCK_BYTES", block)
    write_csv(tmp_path / "in.csv", ["x", "text"], [[n, f"t{n}"] for n in range(5000)])
    reading = read(tmp_path / "in.csv", sample_rows=300, seed=7)
    keys = np.random.default_rng(7).random(5000)
    expected = np.sort(np.argsort(keys)[:300])
    texts = reading.table.columns["text"]
    assert (reading.read, reading.table.rows) == (5000, 300)
    assert [texts.value(row) for row in range(300)] == [f"t{n}" for n in expected]
    assert reading.table.where(5).endswith(f"in.csv: line {expected[5] + 2:,}")


def test_a_sample_larger_than_the_table_is_the_table(tmp_path: Path) -> None:
    as_csv(tmp_path / "in.csv")
    sampled = metrics_of(tmp_path, tmp_path / "in.csv", sample_rows=1000)
    assert sampled.data.rows.sampled is None
    assert sampled.metrics == metrics_of(tmp_path, tmp_path / "in.csv").metrics


def test_manifest_and_report_say_that_a_sample_was_drawn(tmp_path: Path) -> None:
    as_csv(tmp_path / "in.csv")
    options = ("--target", "y", "--id", "id", "--estimator", "logistic", "--sample-rows", "100")
    done = run_trivet("train", "--data", "in.csv", *options, cwd=tmp_path)
    assert "400 rows, 100 of them sampled with seed 0: 80 to fit, 20 held out" in done.stdout
    rows = ModelStore(tmp_path / "models").artifact("model").manifest.data.rows
    assert (rows.total, rows.sampled, rows.train, rows.held_out) == (400, 100, 80, 20)


def test_files_of_two_formats_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    as_csv(tmp_path / "in/a.csv")
    as_json_lines(tmp_path / "in/b.jsonl")
    with pytest.raises(TableError, match="holds files of several formats; train on files of one"):
        train(settings(tmp_path, tmp_path / "in"))


def test_progress_names_rows_bytes_and_steps(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    steps: list[str] = []
    settings = replace(FLIGHTS, models_dir=tmp_path, params={"max_iter": 5})
    train(settings, lambda *state: seen.append(state), steps.append)
    size = Path(FLIGHTS.data).stat().st_size
    assert seen[-1] == (30_000, size, size)
    assert steps == ["fitting", "proving"]


def test_what_was_set_aside_has_the_form_of_a_batch(tmp_path: Path) -> None:
    as_json_lines(tmp_path / "in.jsonl")
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("[1]\n{broken\n")
    result = train(settings(tmp_path, tmp_path / "in.jsonl"))
    rejected = tmp_path / "models/model" / result.manifest.version / "rejected.csv"
    rows = read_csv(rejected)
    assert [(row["line"], row["reason"]) for row in rows] == [
        ("401", "not a JSON object"),
        ("402", "not JSON"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (pa.timestamp("us"), pa.timestamp("ns", "UTC"), "timestamp"),
        (pa.timestamp("ms"), pa.date32(), "timestamp"),
        (pa.decimal128(15, 2), pa.int64(), "number"),
        (pa.uint64(), pa.int64(), "integer"),
        (pa.int8(), pa.int64(), "integer"),
    ],
)
def test_types_that_mean_the_same_become_one_column(
    tmp_path: Path, first: pa.DataType, second: pa.DataType, kind: str
) -> None:
    (tmp_path / "in").mkdir()
    target = pa.array([n % 2 for n in range(60)])
    for name, each in (("a", first), ("b", second)):
        days = pa.array([n % 7 for n in range(60)], pa.int32())
        values = days.cast(pa.date32()) if kind == "timestamp" else days
        table = pa.table({"u": values.cast(each), "y": target})
        pa.parquet.write_table(table, tmp_path / f"in/{name}.parquet")
    contract = metrics_of(tmp_path, tmp_path / "in", identifiers=(), kinds={}).contract
    assert [(column.name, column.kind) for column in contract.columns] == [("u", kind)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.csv", "x,y\n", "holds no rows"),
        (
            "in.csv",
            "x,y\n1\n2\n",
            r"holds no rows; 2 were rejected, the first is .*line 2: too few",
        ),
        (
            "in.csv",
            "y\n" + "0\n1\n" * 9,
            "no column can be a feature: there is none but the target",
        ),
        (
            "in.jsonl",
            f'{{"x": 1{"0" * 400}, "y": 1}}\n{{"x": 1, "y": 0}}\n' * 20,
            r"line 1, column 'x'.*a finite number",
        ),
        ("in.jsonl", '{"x": 1, "y": true}\n{"x": 2, "y": 5}\n' * 9, "holds values of mixed types"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    everything = MaxRejected(1, is_share=True)
    with pytest.raises(TrivetError, match=message):
        train(TrainSettings(tmp_path / name, "y", max_rejected=everything, models_dir=tmp_path))


def test_moments_beyond_the_years_of_python_are_named(tmp_path: Path) -> None:
    moments = pa.array([2**62] * 40, pa.int64()).cast(pa.timestamp("us"))
    days = pa.array([2**31 - 1] * 40, pa.int32()).cast(pa.date32())
    for values in (moments, days):
        columns = {"t": values, "x": [n % 7 for n in range(40)], "y": [0, 1] * 20}
        pa.parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
        with pytest.raises(TableError, match=r"row 1, column 't': .* an ISO 8601 timestamp"):
            train(TrainSettings(tmp_path / "in.parquet", "y", models_dir=tmp_path))


def test_a_sample_leaves_out_what_the_whole_table_leaves_out(tmp_path: Path) -> None:
    values = pa.array([b"a", b"b"] * 40, pa.binary_view())
    table = pa.table({"q": values, "x": [n % 7 for n in range(80)], "y": [0, 1] * 40})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as writer:
        writer.write_table(table)
    for sample_rows in (None, 50):
        settings = TrainSettings(tmp_path / "in.arrow", "y", sample_rows=sample_rows)
        left_out = train(replace(settings, models_dir=tmp_path)).manifest.contract.left_out
        assert [column.name for column in left_out] == ["q"]


def test_how_the_bytes_are_read_is_part_of_the_version(tmp_path: Path) -> None:
    rows = "".join(f"{n % 2}\tq{n % 3},{n % 3 % 2}\n" for n in range(80))
    for name in ("in.csv", "in.tsv"):
        (tmp_path / name).write_text("y\ta,y\n" + rows)
    options: dict[str, Any] = {"identifiers": (), "kinds": {}}
    commas = metrics_of(tmp_path, tmp_path / "in.csv", **options)
    tabs = metrics_of(tmp_path, tmp_path / "in.tsv", **options)
    assert commas.version != tabs.version
    assert metrics_of(tmp_path, tmp_path / "in.csv", delimiter=",", **options) == commas


def test_a_stricter_limit_is_not_up_to_date(tmp_path: Path) -> None:
    as_csv(tmp_path / "in.csv")
    with (tmp_path / "in.csv").open("a") as file:
        file.write("1,2\n")
    first = train(settings(tmp_path, tmp_path / "in.csv"))
    strict = settings(tmp_path, tmp_path / "in.csv", max_rejected=MaxRejected(0))
    with pytest.raises(
        TooManyRejected, match=rf"rejected\.csv of version {first.manifest.version}"
    ):
        train(strict)


def test_a_limit_by_number_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(20):
        (tmp_path / f"in/{number:02}.csv").write_text("x,y\n1\n")
    with pytest.raises(TooManyRejected, match="rejected 1 of 1 rows"):
        train(settings(tmp_path, tmp_path / "in", max_rejected=MaxRejected(0)))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # not below a folder that only root can enter
        folder = Path(name)
        folder.chmod(0o755)
        as_csv(folder / "a.csv")
        (folder / "sub").mkdir()
        as_csv(folder / "sub/b.csv")
        assert len(find_sources(name, tmp_path / "unused")) == 2
        (folder / "sub").chmod(0)
        with (
            as_ordinary_user(),
            pytest.raises(TableError, match="can't be read: Permission denied"),
        ):
            find_sources(name, tmp_path / "unused")
        (folder / "sub").chmod(0o755)


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root may read everything; nobody may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_missing_words_are_counted_in_all_rows_that_are_read(tmp_path: Path) -> None:
    rows = [[n, "NA" if n % 5 == 0 else "b", " null" if n % 4 == 0 else n] for n in range(1000)]
    write_csv(tmp_path / "in.csv", ["y", "a", "b"], rows)
    for options in ({}, {"sample_rows": 100}):
        words = read(tmp_path / "in.csv", **options).table.missing_words
        assert words == {"a": {"NA": 200}, "b": {"null": 250}}


def test_large_whole_numbers_of_json_keep_their_digits(tmp_path: Path) -> None:
    lines = [json.dumps({"x": 2**63 + n}) for n in range(3)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    column = read(tmp_path / "in.jsonl").table.columns["x"]
    assert column.different().to_pylist() == [2**63, 2**63 + 1, 2**63 + 2]


def test_whole_numbers_of_several_types_keep_their_digits(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, number in (("a", -5), ("b", 2**63 + 1)):
        kind = pa.int32() if number < 0 else pa.uint64()
        pa.parquet.write_table(
            pa.table({"x": pa.array([number], kind)}), tmp_path / f"in/{name}.parquet"
        )
    column = read(tmp_path / "in").table.columns["x"]
    assert [int(number) for number in column.different().to_pylist()] == [-5, 2**63 + 1]
