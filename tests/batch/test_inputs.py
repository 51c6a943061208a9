"""What a batch can read, and what becomes of rows that are not valid."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import NOVEMBER, TRIVET, read_csv, run_trivet, write_csv
from trivet.batch.parts import parts_of
from trivet.batch.run import batch_predict
from trivet.batch.settings import BatchSettings
from trivet.batch.summary import Summary
from trivet.errors import TableError
from trivet.model.compiled import CompiledPipeline
from trivet.rows import readers
from trivet.rows.arrays import Rows
from trivet.rows.contract import Kind
from trivet.rows.rejects import MaxRejected
from trivet.rows.sources import find_sources
from trivet.train.run import train
from trivet.train.settings import TrainSettings

Predict = Callable[..., Summary]
HEADER = ["id", "note", "code", "x"]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a code and a whole number that may be missing; beside them, an id and a note."""
    folder = tmp_path_factory.mktemp("codes")
    rows = [
        [n, "-", f"{n % 3:03}", "" if n % 10 == 9 else n % 7, n % 3 + n % 7] for n in range(200)
    ]
    data = write_csv(folder / "codes.csv", [*HEADER, "y"], rows)
    kinds: dict[str, Kind] = {"code": "category", "x": "integer"}
    settings = TrainSettings(
        data, "y", identifiers=("id",), exclude=("note",), kinds=kinds, task="regression",
        estimator="ridge", models_dir=folder / "models",
    )  # fmt: skip
    train(settings)
    return folder / "models"


@pytest.fixture
def predict(store: Path, tmp_path: Path) -> Predict:
    def predict(source: Path | str, output: str = "out.csv", **options: Any) -> Summary:
        allowed = {"max_rejected": MaxRejected(1, is_share=True), "workers": 1, **options}
        return batch_predict(
            BatchSettings(str(source), f"{tmp_path}/{output}", models_dir=store, **allowed)
        )

    return predict


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few rows, read in blocks of one or two."""
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 100)
    monkeypatch.setattr("trivet.rows.readers.text.BLOCK_BYTES", 40)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rejected(tmp_path: Path) -> list[tuple[str, str, str, str]]:
    rows = read_csv(tmp_path / "out.csv.rejected.csv")
    return [(row["line"], row["column"], row["reason"], row["row"]) for row in rows]


def carried(tmp_path: Path, name: str) -> list[str]:
    return [row[name] for row in read_csv(tmp_path / "out.csv")]


PLAIN = "id,note,code,x\n1,a,001,3\n2,b,002,\n3,c,000,NA\n4,d,001,6\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.removesuffix("\n"),
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\n\n"),
        "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in PLAIN.split()),
        "x,code,id,note\n3,001,1,a\n,002,2,b\nNA,000,3,c\n6,001,4,d\n",
    ],
    ids=["crlf", "cr", "no last newline", "bom", "blank lines", "quoted", "other order"],
)
def test_the_same_table_in_another_form(
    predict: Predict, tmp_path: Path, text: str, small_parts: None
) -> None:
    predict(written(tmp_path / "plain.csv", PLAIN), "plain-out.csv")
    summary = predict(written(tmp_path / "in.csv", text))
    assert (summary.rows, summary.predicted) == (4, 4)
    plain = read_csv(tmp_path / "plain-out.csv")
    assert sorted(plain[0]) == sorted(read_csv(tmp_path / "out.csv")[0])
    assert read_csv(tmp_path / "out.csv") == plain


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_goes_in_and_out(
    predict: Predict, tmp_path: Path, delimiter: str, small_parts: None
) -> None:
    text = PLAIN.replace(",a,", ",a;b,").replace(",", "|").replace("a;b", '"a;b\t|"')
    source = written(tmp_path / "in.csv", text.replace("|", delimiter))
    predict(source, delimiter=delimiter)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file, delimiter=delimiter))
    assert rows[0][:2] == ["id", "note"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]
    assert rows[1][1] == f"a;b\t{delimiter}"


def test_text_stays_text_in_every_part(predict: Predict, tmp_path: Path, small_parts: None) -> None:
    rows = [[f"{n:05}", "1", f"{n % 3:03}", n % 7] for n in range(200)]
    summary = predict(write_csv(tmp_path / "in.csv", HEADER, rows))
    assert carried(tmp_path, "id") == [f"{n:05}" for n in range(200)]
    assert summary.features["code"].unseen == 0


cells = st.text(st.sampled_from('"\n\r,;aé ∞\t'), max_size=6)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(notes=st.lists(cells, min_size=1, max_size=12), minimal=st.booleans())
def test_any_text_comes_back_as_it_was(
    predict: Predict, tmp_path: Path, small_parts: None, notes: list[str], minimal: bool
) -> None:
    text = io.StringIO()
    dialect = "excel" if minimal else "unix"  # which quotes every cell
    writer = csv.writer(text, dialect, lineterminator="\r\n")
    writer.writerows([HEADER, *([n, note, "001", "1"] for n, note in enumerate(notes))])
    summary = predict(written(tmp_path / "in.csv", text.getvalue()))
    assert (summary.rows, summary.predicted) == (len(notes), len(notes))
    assert carried(tmp_path, "note") == notes


def test_quotes_within_plain_cells_hide_no_newline(
    predict: Predict, tmp_path: Path, small_parts: None
) -> None:
    notes = ['5" pipe', '"two\nlines"', 'a"b"', '"x, ""y"""', '6"'] * 6
    lines = [f"{n},{note},001,1" for n, note in enumerate(notes)]
    summary = predict(written(tmp_path / "in.csv", "\n".join([",".join(HEADER), *lines])))
    assert summary.predicted == 30
    assert carried(tmp_path, "note") == ['5" pipe', "two\nlines", 'a"b"', 'x, "y"', '6"'] * 6


def test_rows_that_are_not_valid_are_set_aside_with_their_lines(
    predict: Predict, tmp_path: Path, small_parts: None
) -> None:
    lines = [
        b"id,note,code,x",
        b'1,"two\nlines",001,1',
        b"2,few,001",
        b"",
        b"3,many,001,1,1",
        b"4,\xff\xfe,001,1",
        b"5,word,001,one",
        b"6,half,001,1.5",
        b'7,"and\nlong",001,far,',
        b"8,good,001,2",
    ]
    summary = predict(written(tmp_path / "in.csv", b"\n".join(lines)))
    assert (summary.rows, summary.predicted, summary.rejected) == (8, 2, 6)
    content = (tmp_path / "out.csv.rejected.csv").read_bytes()
    found = list(csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))
    assert [tuple(row[1:4]) for row in found[1:]] == [
        ("4", "", "too few cells"),
        ("6", "", "too many cells"),
        ("7", "note", "not UTF-8"),
        ("8", "x", "not a whole number"),
        ("9", "x", "not a whole number"),
        ("10", "", "too many cells"),
    ]
    raw = [row[4].encode("utf-8", "surrogateescape") for row in found[1:]]
    assert raw == [lines[at] for at in (2, 4, 5, 6, 7, 8)]
    assert carried(tmp_path, "id") == ["1", "8"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,note,code,code,x\n", "column 'code' appears twice"),
        ("id,note,x\n1,a,1\n", "no column 'code'"),
        ("id,cod,x\n1,a,1\n", "no column 'code'; did you mean 'cod'"),
        ('id,note,code,x\n1,a,001,1\n2,"a,001,1\n3,a,001,1\n', "never closed, in line 3 or after"),
        (b"\xff\xfei\x00d\x00\n\x00", "this is UTF-16: save it as UTF-8"),
        (b"id,caf\xe9,x\n1,a,1\n", "its header is not UTF-8; save it as UTF-8"),
        ("id;note;code;x\n1;a;001;1\n", "one column named 'id;note;code;x': try --delimiter ';'"),
        ("id\tnote\tcode\n1\ta\t001\n", r"try --delimiter '\\t'"),
        ("id,note,code," + "x" * 2**20, "the header does not end; is it a CSV file"),
        ("\ufeffid,note,code," + "x" * 2**20, "the header does not end; is it a CSV file"),
    ],
)
def test_a_file_that_is_not_a_table_is_named(
    predict: Predict, tmp_path: Path, text: str | bytes, message: str
) -> None:
    source = written(tmp_path / "in.csv", text)
    with pytest.raises(TableError, match=message) as error:
        predict(source)
    assert str(source) in str(error.value)
    assert not list(tmp_path.glob("out*"))


def test_long_cells_and_many_columns(predict: Predict, tmp_path: Path, small_parts: None) -> None:
    names = [*HEADER, *(f"more{n}" for n in range(300))]
    rows = [[n, "é" * 10_000, "001", 1, *range(300)] for n in range(5)]
    summary = predict(write_csv(tmp_path / "in.csv", names, rows))
    assert summary.predicted == 5
    assert carried(tmp_path, "note") == ["é" * 10_000] * 5
    assert carried(tmp_path, "more299") == ["299"] * 5


def typed() -> pa.Table:
    return pa.table(
        {
            "id": [1, 2, 3, 4],
            "note": ["a", "b", "c", "d"],
            "code": ["001", "002", "000", "001"],
            "x": pa.array([3, None, None, 6], pa.int16()),
        }
    )


def as_arrow(path: Path, stream: bool) -> None:
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(path, typed().schema) as writer:
        writer.write_table(typed(), 2)


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in typed().to_pylist()))


def as_jsonl_gz(path: Path) -> None:
    as_jsonl(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def zstd(path: Path, content: bytes) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(content)


def as_categories(path: Path) -> None:
    frame = typed().to_pandas().astype({"code": "category"}).set_index("id", drop=False)
    frame.index.name = None
    frame.to_parquet(path)


FORMS: dict[str, Callable[[Path], object]] = {
    "in.csv.gz": lambda path: path.write_bytes(gzip.compress(PLAIN.encode())),
    "in.csv.zst": lambda path: zstd(path, PLAIN.encode()),
    "in.jsonl": as_jsonl,
    "in.ndjson.gz": as_jsonl_gz,
    "in.parquet": lambda path: pa.parquet.write_table(typed(), path, row_group_size=3),
    "categories.parquet": as_categories,
    "in.arrow": lambda path: as_arrow(path, stream=False),
    "in.feather": lambda path: as_arrow(path, stream=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_format_gives_the_same_answers(
    predict: Predict, tmp_path: Path, name: str, small_parts: None
) -> None:
    predict(written(tmp_path / "plain.csv", PLAIN), "plain-out.csv")
    FORMS[name](tmp_path / name)
    summary = predict(tmp_path / name)
    assert (summary.rows, summary.predicted) == (4, 4)
    assert read_csv(tmp_path / "out.csv") == read_csv(tmp_path / "plain-out.csv")


@pytest.mark.parametrize("group", [7, 60, 500])
def test_parquet_is_cut_between_and_within_row_groups(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr("trivet.rows.readers.parquet.SPAN_ROWS", 50)
    numbers = [0.5 if n in (0, 333, 499) else n % 7 for n in range(500)]
    codes = [f"{n % 3:03}" for n in range(500)]
    table = pa.table({"id": range(500), "note": codes, "code": codes, "x": numbers})
    pa.parquet.write_table(table, tmp_path / "in.parquet", row_group_size=group)
    [source] = find_sources(str(tmp_path / "in.parquet"), tmp_path)
    parts = list(parts_of([readers.columns(source)]))
    assert len(parts) == {7: 11, 60: 16, 500: 4}[group]
    assert sum(part.span.weight for part in parts) == pytest.approx(source.size, abs=len(parts))
    summary = predict(source.address, chunk_rows=9, workers=2)
    assert (summary.rows, summary.predicted) == (500, 497)
    good = [str(n) for n in range(500) if n not in (0, 333, 499)]
    assert carried(tmp_path, "id") == good
    assert [row[0] for row in rejected(tmp_path)] == ["1", "334", "500"]


def test_the_first_parts_of_a_text_are_small_and_none_is_a_large_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no worker waits long for its first part, nor for another one's last."""
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 1000)
    monkeypatch.setattr("trivet.rows.readers.text.BLOCK_BYTES", 100)
    written(tmp_path / "in.csv", "id,x\n" + "1234,5678\n" * 3000)
    [source] = find_sources(str(tmp_path / "in.csv"), tmp_path)
    spans = [part.span for part in parts_of([readers.columns(source)])]
    lengths = [span.length or 0 for span in spans]
    assert lengths[0] == 100
    assert max(lengths) == 1000
    assert all(span.length <= max(100, span.start / 8 + 100) for span in spans if span.length)


@pytest.mark.parametrize("name", ["in.csv", *FORMS])
def test_standard_input_may_be_of_any_format(store: Path, tmp_path: Path, name: str) -> None:
    {"in.csv": lambda path: written(path, PLAIN), **FORMS}[name](tmp_path / name)
    command = ("batch-predict", "--input", "-", "--output", "-", "--models-dir", str(store))
    with (tmp_path / name).open("rb") as stdin:
        done = subprocess.run(
            [TRIVET, *command], stdin=stdin, capture_output=True, cwd=tmp_path, check=False
        )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert b"4 rows in = 4 predicted + 0 rejected" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["in.csv", *FORMS])
def test_a_pipe_with_a_name_is_read_as_standard_input_is(
    predict: Predict, tmp_path: Path, name: str
) -> None:
    {"in.csv": lambda path: written(path, PLAIN), **FORMS}[name](tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    code = f"open('pipe', 'wb').write(open({name!r}, 'rb').read())"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as writer:
        summary = predict(tmp_path / "pipe")
    assert writer.returncode == 0
    assert (summary.rows, summary.predicted) == (4, 4)
    assert carried(tmp_path, "id") == ["1", "2", "3", "4"]


def test_trouble_in_a_pipe_has_its_name(predict: Predict, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code = "open('pipe', 'w').write('a,b\\n')"
    with (
        subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path),
        pytest.raises(TableError, match=r"/pipe: no column"),
    ):
        predict(tmp_path / "pipe")


def test_categories_are_carried_as_categories(predict: Predict, tmp_path: Path) -> None:
    """Through Parquet and Arrow, in several parts and from several files."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, notes in enumerate((["a", "b", None, "a"], ["c", "c", "d", "a"])):
        coded = pa.array(notes).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string()))
        table = typed().set_column(1, "note", coded)
        pa.parquet.write_table(table, folder / f"{number}.parquet", row_group_size=3)
        with pa.ipc.new_file(folder / f"{number}.arrow", table.schema) as writer:
            writer.write_table(table)
    for output in ("out.parquet", "parts/"):
        predict(folder, output)
        out = pa.parquet.read_table(tmp_path / output)
        assert out.schema.field("note").type == pa.dictionary(pa.int32(), pa.string())
        expected = ["a", "b", None, "a"] * 2 + ["c", "c", "d", "a"] * 2
        assert out["note"].to_pylist() == expected
    predict(folder)
    assert carried(tmp_path, "note") == [text or "" for text in expected]


@pytest.mark.parametrize("values", [["b", "a", "b", None], [2**40, 1, 2**40, None]])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("columns", [None, ("level", "code")])
def test_dictionaries_of_any_kind_are_carried(
    predict: Predict, tmp_path: Path, values: list[Any], ordered: bool, columns: Any
) -> None:
    plain = pa.array(values).dictionary_encode()
    coded = pa.DictionaryArray.from_arrays(plain.indices, plain.dictionary, ordered=ordered)
    table = typed().append_column("level", coded)
    table = table.set_column(2, "code", table["code"].dictionary_encode())
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    with pa.ipc.new_stream(tmp_path / "in.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("in.parquet", "in.arrow"):
        predict(tmp_path / name, "out.parquet", columns=columns)
        out = pa.parquet.read_table(tmp_path / "out.parquet")
        assert out["level"].to_pylist() == values
        read_back = pa.parquet.read_table(tmp_path / "in.parquet").schema
        assert out.schema.field("level").type == read_back.field("level").type


def test_a_column_of_categories_here_and_text_there_is_text(
    predict: Predict, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    coded = typed().set_column(1, "note", typed()["note"].dictionary_encode())
    pa.parquet.write_table(coded, folder / "0.parquet")
    pa.parquet.write_table(typed(), folder / "1.parquet")
    predict(folder, "out.parquet")
    out = pa.parquet.read_table(tmp_path / "out.parquet")
    assert out.schema.field("note").type == pa.string()
    assert out["note"].to_pylist() == ["a", "b", "c", "d"] * 2


def test_standard_input_that_cannot_be_decompressed_is_named(store: Path, tmp_path: Path) -> None:
    command = ("batch-predict", "--input", "-", "--output", "-", "--models-dir", str(store))
    no_gzip = b"\x1f\x8b" + bytes(10)
    done = subprocess.run(
        [TRIVET, *command], input=no_gzip, capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: standard input: can't be read")


def test_what_standard_output_cannot_hold_stays_in_the_working_directory(
    store: Path, tmp_path: Path
) -> None:
    write_csv(tmp_path / "in.csv", HEADER, [[1, "-", "001", "far"], *[[2, "-", "001", 1]] * 200])
    command = ("batch-predict", "--input", "in.csv", "--output", "-", "--models-dir", store)
    done = run_trivet(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 201
    assert "rejected 1: " in done.stderr
    [row] = read_csv(tmp_path / "stdout.rejected.csv")
    assert (row["file"], row["line"]) == ("in.csv", "2")
    refused = run_trivet(*command, "--max-rejected", "0", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "the rows are in stdout.rejected.csv" in refused.stderr


def test_rows_that_the_model_has_no_finite_answer_to_are_set_aside(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = CompiledPipeline.answers

    def none_to_far(model: CompiledPipeline, rows: Rows) -> Rows:
        return np.where((rows == 10**200).any(axis=1), np.inf, answers(model, rows))

    monkeypatch.setattr(CompiledPipeline, "answers", none_to_far)
    far = set(range(7, 300))  # more than are named at once
    rows = [[n, "-", "x" if n == 8 else "001", 10**200 if n in far else 1] for n in range(305)]
    write_csv(tmp_path / "in.csv", HEADER, [*rows, [305, "-", "001", "word"]])
    summary = predict(tmp_path / "in.csv")
    assert (summary.rows, summary.predicted, summary.rejected) == (306, 305 - len(far), 294)
    assert carried(tmp_path, "id") == [str(n) for n in range(305) if n not in far]
    found = rejected(tmp_path)
    assert [line for line, *_ in found] == [str(n + 2) for n in sorted({*far, 305})]
    assert found[0][1:3] == ("", "not values that the model has a finite answer to")


def test_lines_that_are_not_records_are_set_aside(
    predict: Predict, tmp_path: Path, small_parts: None
) -> None:
    lines = [
        '{"id": 1, "note": "a", "code": "001", "x": 1}',
        "not json",
        "[1]",
        '{"id": 2, "note": {"deep": [1]}, "code": "001", "x": 1, "mystery": 1}',
        '{"id": 3, "code": "001", "x": "one"}',
        "",
        '{"id": 4, "note": {"deep": [1]}, "code": "001"}',
        "[" * 100_000,
    ]
    (tmp_path / "first.jsonl").write_text(lines[0] + "\n")
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    summary = predict(tmp_path / "in.jsonl")
    # The fields of a file are those of its beginning, so that "mystery" is a column of this one.
    assert summary.rows == summary.predicted + summary.rejected == 7
    reasons = [row[:3] for row in rejected(tmp_path)]
    assert reasons == [
        ("2", "", "not JSON"),
        ("3", "", "not a JSON object"),
        ("5", "x", "not a whole number"),
        ("8", "", "not JSON"),
    ]
    assert carried(tmp_path, "note") == ["a", '{"deep": [1]}', '{"deep": [1]}']


def test_a_glob_and_a_directory_are_read_by_name(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name, number in [("b.csv", 2), ("a.csv", 1), ("deep/c.csv", 3)]:
        write_csv(folder / name, HEADER, [[number, "-", "001", 1]])
    (folder / "_SUCCESS").touch()
    (folder / ".hidden.csv").write_text("nothing")
    predict(folder)
    assert carried(tmp_path, "id") == ["1", "2", "3"]
    predict(folder / "*.csv")
    assert carried(tmp_path, "id") == ["1", "2"]
    with pytest.raises(TableError, match="no such file"):
        predict(folder / "*.parquet")
    folder.rename(tmp_path / ".in")
    predict(tmp_path / ".in/*.csv")  # hidden, but it is what was asked for
    assert carried(tmp_path, "id") == ["1", "2"]


def test_files_that_do_not_fit_together_are_named(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_csv(folder / "a.csv", HEADER, [[1, "-", "001", 1]])
    pa.parquet.write_table(typed(), folder / "b.csv")
    (folder / "b.csv").rename(folder / "b.parquet")
    with pytest.raises(TableError, match=r"b\.parquet: column 'id' is int64, but string in"):
        predict(folder)
    (folder / "b.parquet").rename(folder / "b.txt")
    with pytest.raises(TableError, match=r"b\.txt: the file's name must end in"):
        predict(folder)


def test_a_column_that_only_one_file_has_is_carried_too(predict: Predict, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_csv(folder / "a.csv", ["id", "code", "x"], [[1, "001", 1]])
    write_csv(folder / "b.csv", ["more", *HEADER], [["m", 2, "n", "001", 1]])
    written(folder / "c.jsonl", '{"id":3,"code":"001","x":1,"most":"k"}\n')
    predict(folder)
    assert carried(tmp_path, "id") == ["1", "2", "3"]
    assert carried(tmp_path, "note") == ["", "n", ""]
    assert carried(tmp_path, "more") == ["", "m", ""]
    assert carried(tmp_path, "most") == ["", "", "k"]
    with pytest.raises(TableError, match=r"a\.csv: no column 'more'"):
        predict(folder, columns=("more",))


def test_a_column_without_values_takes_the_type_that_it_has_in_another_file(
    predict: Predict, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, notes in [("a", pa.nulls(4)), ("b", typed()["note"]), ("c", pa.nulls(4))]:
        table = typed().set_column(1, "note", notes)
        pa.parquet.write_table(table, folder / f"{name}.parquet")
    predict(folder, "out.parquet")
    notes = pa.parquet.read_table(tmp_path / "out.parquet")["note"]
    assert notes.to_pylist() == [*[None] * 4, "a", "b", "c", "d", *[None] * 4]


def test_a_feature_that_one_file_lacks_is_not_missing_in_every_row(
    predict: Predict, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_csv(folder / "a.csv", ["id", "code"], [[1, "001"]])
    assert predict(folder).absent == ("x",)
    write_csv(folder / "b.csv", ["id", "code", "x"], [[2, "001", 1]])
    summary = predict(folder)
    assert summary.absent == ()
    assert summary.features["x"].missing == 0.5


def test_numbers_of_json_are_carried_as_they_were_written(predict: Predict, tmp_path: Path) -> None:
    ids = ["1.10", "1e3", "12345678901234567890.123", "12345678901234567890", "7"]
    lines = [f'{{"id":{text},"code":"001","x":1,"note":[1,"a"]}}\n' for text in ids]
    assert predict(written(tmp_path / "in.jsonl", "".join(lines))).predicted == len(ids)
    assert carried(tmp_path, "id") == ids
    assert carried(tmp_path, "note") == ['[1, "a"]'] * len(ids)


def test_only_a_newline_ends_a_line_of_json(predict: Predict, tmp_path: Path) -> None:
    record = '{"id":1,\r"note":"a","code":"001","x":1}\r\n'
    assert predict(written(tmp_path / "in.jsonl", record * 2)).predicted == 2
    assert carried(tmp_path, "note") == ["a", "a"]


def test_half_a_character_of_json_is_set_aside(predict: Predict, tmp_path: Path) -> None:
    good = '{"id":1,"note":"\\ud83d\\ude00","code":"001","x":1}\n'
    halves = [good.replace("\\ude00", ""), good.replace('"note":"\\ud83d', '"\\ud83d":"')]
    summary = predict(written(tmp_path / "in.jsonl", good + "".join(halves)))
    assert (summary.predicted, summary.rejected) == (1, 2)
    assert carried(tmp_path, "note") == ["\U0001f600"]
    assert [row[:3] for row in rejected(tmp_path)] == [
        ("2", "", "not UTF-8"),
        ("3", "", "not UTF-8"),
    ]


def test_a_field_that_comes_late_is_no_reject_and_is_named(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trivet.rows.readers.text.BEGINNING", 100)
    rows: list[dict[str, object]] = [{"id": n, "code": "001", "x": n % 7} for n in range(20)]
    rows[15] |= {"memo": "late", "y": 3.5}
    rows[16]["xx"] = rows[16].pop("x")
    source = written(tmp_path / "in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    summary = predict(source)
    assert (summary.predicted, summary.rejected) == (19, 1)
    assert summary.rejected_by_reason == {"xx: unknown field; did you mean 'x'?": 1}
    assert summary.not_carried == ("memo", "y")
    named = predict(source, columns=("id", "memo"))
    assert named.not_carried == ()
    assert carried(tmp_path, "memo")[14:17] == ["", "late", ""]
    with pytest.raises(TableError, match="no column 'iid'; did you mean 'id'"):
        predict(source, columns=("iid",))


@pytest.mark.parametrize("before", ["", "\n", "not JSON\n"])
def test_a_line_may_be_longer_than_what_is_looked_at_first(
    predict: Predict, tmp_path: Path, before: str
) -> None:
    line = '{"id":1,"note":"%s","code":"001","x":1}' % ("n" * 2**21)
    assert predict(written(tmp_path / "in.jsonl", before + line)).predicted == 1
    assert carried(tmp_path, "note") == ["n" * 2**21]


def test_a_moment_beyond_the_years_of_python_is_set_aside(tmp_path: Path) -> None:
    moments = pa.array([0, 86_400_000, 4 * 10**15] * 20, pa.timestamp("ms"))
    table = pa.table({"t": moments, "when": moments, "y": [0.0, 1.0, 2.0] * 20})
    learnt = table.filter(pa.compute.less(table["t"], pa.scalar(10**9, pa.timestamp("ms"))))
    pa.parquet.write_table(learnt, tmp_path / "learn.parquet")
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    train(
        TrainSettings(
            tmp_path / "learn.parquet", "y", task="regression", estimator="ridge",
            identifiers=("when",), kinds={"t": "timestamp"}, models_dir=tmp_path / "models",
        )
    )  # fmt: skip
    settings = BatchSettings(
        str(tmp_path / "in.parquet"), f"{tmp_path}/out.csv", models_dir=tmp_path / "models",
        max_rejected=MaxRejected(1, is_share=True),
    )  # fmt: skip
    summary = batch_predict(settings)
    assert (summary.predicted, summary.rejected) == (40, 20)
    assert rejected(tmp_path)[0][:2] == ("3", "t")


def test_what_a_cell_cannot_hold_is_named(predict: Predict, tmp_path: Path) -> None:
    lists = pa.array([[1], [2, 3]])
    table = pa.table({"id": lists, "note": ["a", "b"], "code": ["001", "002"], "x": [1, 2]})
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(TableError, match=r"column 'id' holds list<.*>, which a CSV can't; write"):
        predict(tmp_path / "in.parquet")
    predict(tmp_path / "in.parquet", "out.parquet")
    assert pa.parquet.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [[1], [2, 3]]
    pa.parquet.write_table(table.set_column(3, "x", lists), tmp_path / "in.parquet")
    with pytest.raises(TableError, match=r"in\.parquet: column 'x' holds list<.*>; a feature is"):
        predict(tmp_path / "in.parquet", "out.parquet")


def test_lines_are_counted_past_other_line_ends_in_quotes(
    predict: Predict, tmp_path: Path, small_parts: None
) -> None:
    odd = '1,"a\rb\r\n\nc",001,1\n'  # three lines, as the file ends them
    source = written(tmp_path / "in.csv", "id,note,code,x\n" + odd * 3 + "2,-,001,far\n")
    summary = predict(source)
    assert (summary.predicted, summary.rejected) == (3, 1)
    assert rejected(tmp_path)[0][0] == "11"


def test_columns_are_chosen_features_among_them(predict: Predict, tmp_path: Path) -> None:
    source = written(tmp_path / "in.csv", PLAIN)
    predict(source, columns=("x", "id"))
    assert (tmp_path / "out.csv").read_text().splitlines()[2].startswith(",2,")
    assert list(read_csv(tmp_path / "out.csv")[0])[:3] == ["x", "id", "prediction"]
    assert carried(tmp_path, "x") == ["3", "", "NA", "6"]
    predict(source, columns=("id", "id"))
    assert (tmp_path / "out.csv").read_text().startswith("id,prediction,")
    predict(source, columns=())
    assert next(iter(read_csv(tmp_path / "out.csv")[0])) == "prediction"
    with pytest.raises(TableError, match="no column 'idd'; did you mean 'id'"):
        predict(source, columns=("idd",))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_directory_of_parts_replaces_the_one_before(
    predict: Predict, tmp_path: Path, ending: str, small_parts: None
) -> None:
    folder = tmp_path / f"out.{ending}"
    for count in (60, 20):
        rows = [[n, "-", "001", 1] for n in range(count)]
        predict(write_csv(tmp_path / "in.csv", HEADER, rows), f"out.{ending}/")
        parts = sorted(folder.iterdir())
        assert len(parts) > 1
        read = pa.csv.read_csv if ending == "csv" else pa.parquet.read_table
        assert pa.concat_tables(map(read, parts))["id"].to_pylist() == [
            n if ending == "csv" else str(n) for n in range(count)
        ]
    with pytest.raises(TableError, match=f"is a directory; .* write .*out.{ending}/"):
        predict(tmp_path / "in.csv", f"out.{ending}")
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_grows_while_it_is_read_is_not_predicted(
    store: Path, tmp_path: Path, small_parts: None
) -> None:
    source = write_csv(tmp_path / "in.csv", HEADER, [[n, "-", "001", 1] for n in range(50)])

    def grow(rows: int, done: int, total: int) -> None:
        if rows and not grown:
            with source.open("a") as file:
                grown.append(file.write("50,-,001,1\n51,-,0"))

    grown: list[int] = []

    options = BatchSettings(str(source), str(tmp_path / "out.csv"), models_dir=store)
    with pytest.raises(TableError, match=r"in\.csv: changed while it was read"):
        batch_predict(options, grow)
    assert not (tmp_path / "out.csv").exists()
    assert batch_predict(replace(options, max_rejected=MaxRejected(1))).rows == 52


def test_small_chunks_give_the_same_bytes(predict: Predict, tmp_path: Path) -> None:
    rows = [[n, "-", f"{n % 3:03}", n % 7] for n in range(100)]
    source = write_csv(tmp_path / "in.csv", HEADER, rows)
    predict(source, "a.csv")
    predict(source, "b.csv", chunk_rows=7)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("allowed", "code"), [("2%", 0), ("2", 0), ("1.9%", 3), ("1", 3), ("0", 3), ("-1", 2), ("x", 2)]
)
def test_the_exit_code_says_that_too_many_were_rejected(
    store: Path, tmp_path: Path, allowed: str, code: int
) -> None:
    rows = [[n, "-", "001", "far" if n in (5, 77) else 1] for n in range(100)]
    write_csv(tmp_path / "in.csv", HEADER, rows)
    result = run_trivet(
        *("batch-predict", "--input", "in.csv", "--output", "out.csv", "--models-dir", store),
        *("--max-rejected", allowed),
        cwd=tmp_path,
    )
    assert result.returncode == code, result.stderr
    assert (tmp_path / "out.csv").exists() == (code == 0)
    assert (tmp_path / "out.csv.rejected.csv").exists() == (code != 2)
    assert "Traceback" not in result.stderr


def test_november_in_parts_is_november_whole(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    options = BatchSettings(str(NOVEMBER), str(whole), "flights", models_dir=flights_store)
    batch_predict(options)
    monkeypatch.setattr("trivet.rows.readers.text.SPAN_BYTES", 50_000)
    batch_predict(replace(options, output=str(parts), workers=2))
    assert whole.read_bytes() == parts.read_bytes()
