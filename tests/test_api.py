"""The Python API: the legs as functions, and predictions in memory."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from tests.conftest import NOVEMBER, ROOT, free_port, wait_until, write_csv
from trivet import api
from trivet.batch.settings import BatchSettings
from trivet.errors import RecordsRejected, TableError, TrivetError
from trivet.model.artifact import Artifact
from trivet.online.settings import ServeSettings
from trivet.train.settings import TrainSettings

#: A value of each kind of feature in `members`.
MEMBER = {"age": 40, "income": 30_000.5, "city": "Oslo", "active": True, "joined": "2020-03-01"}


@pytest.fixture(scope="module")
def flights_model(flights_store: Path) -> api.LoadedModel:
    return api.load("flights", models_dir=str(flights_store))


@pytest.fixture(scope="module")
def november() -> pd.DataFrame:
    return pd.read_csv(NOVEMBER)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> api.LoadedModel:
    """A model with a feature of each kind, all of which may be missing but the age."""
    folder = tmp_path_factory.mktemp("members")
    rng = np.random.default_rng(0)
    ages = rng.integers(18, 90, 400).tolist()
    rows = [
        (
            age,
            round(20_000 + 300.5 * age, 1),
            ("Oslo", "Rome", "7")[age % 3],
            ("true", "false")[age % 2],
            f"2020-0{1 + age % 9}-01T00:00:00Z",
            "yes" if age + rng.normal(0, 9) > 50 else "no",
        )
        for age in ages
    ]
    header = (*MEMBER, "stays")
    api.train(
        data=write_csv(folder / "members.csv", header, rows),
        target="stays",
        nullable=["income", "city", "active", "joined"],
        models_dir=str(folder),
    )
    return api.load(models_dir=folder)


def frame_of(rows: int = 3, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({name: [value] * rows for name, value in MEMBER.items()}).assign(**columns)


def test_frames_records_a_batch_and_the_service_agree(
    flights_model: api.LoadedModel,
    flights_store: Path,
    november: pd.DataFrame,
    client: TestClient,
    tmp_path: Path,
) -> None:
    features = list(flights_model.contract.feature_names)
    records = november[features].astype(object).where(november[features].notna(), None)
    assert records.isna().any(axis=None)
    [carriers] = [c.categories for c in flights_model.contract.columns if c.name == "carrier"]
    assert not november["carrier"].isin(carriers).all()

    summary = api.batch_predict(
        input=NOVEMBER,
        output=tmp_path / "out.parquet",
        model="flights",
        models_dir=str(flights_store),
        columns=["flight_id"],
        max_rejected=0,
    )
    assert summary.predicted == len(november)
    batch = pd.read_parquet(tmp_path / "out.parquet")
    framed = flights_model.predict(november)
    answers = flights_model.predict(records.to_dict("records"))
    online = client.post("/predict", json={"instances": records.to_dict("records")})

    pd.testing.assert_frame_equal(
        framed, batch.drop(columns=["flight_id", "model_version"]), check_exact=True
    )
    assert answers == online.json()["predictions"]
    assert [answer["prediction"] for answer in answers] == framed["prediction"].tolist()
    for label in ("false", "true"):
        shares = [answer["probabilities"][label] for answer in answers]
        np.testing.assert_allclose(shares, framed[f"probability_{label}"], rtol=1e-9, atol=0)


def test_records_that_pandas_makes_are_records(
    flights_model: api.LoadedModel, november: pd.DataFrame
) -> None:
    some = november.head(300)
    answers = flights_model.predict(some.drop(columns="late").to_dict("records"))
    framed = flights_model.predict(some)
    assert [answer["prediction"] for answer in answers] == framed["prediction"].tolist()


def test_one_record_gets_one_answer(flights_model: api.LoadedModel) -> None:
    example = flights_model.contract.example
    answer = flights_model.predict(example)
    assert answer == flights_model.predict([example])[0]
    assert set(answer) == {"prediction", "probabilities"}
    assert flights_model.predict([]) == []


def test_a_model_without_compiled_form(uncompiled: Artifact, november: pd.DataFrame) -> None:
    model = api.load("flights", uncompiled.manifest.version, uncompiled.path.parent.parent)
    framed = model.predict(november.head(20))
    answers = model.predict(november.head(20).to_dict("records"))
    assert [answer["prediction"] for answer in answers] == framed["prediction"].tolist()
    assert len(model.predict(november.head(0))) == 0


def test_a_regression(tmp_path: Path) -> None:
    rows = [(number * 2, number * 2 + (number % 5) / 10) for number in range(200)]
    table = write_csv(tmp_path / "t.csv", ("x", "y"), rows)
    result = api.train(table, "y", estimator="ridge", max_rejected="5%", models_dir=tmp_path)
    assert result.trained
    model = api.load(model_version=result.manifest.version, models_dir=tmp_path)
    framed = model.predict(pd.DataFrame({"x": [1, 2]}))
    assert framed.dtypes.to_dict() == {"prediction": np.dtype("float64")}
    assert model.predict({"x": 1}) == {"prediction": framed["prediction"][0]}


def test_the_index_is_kept_and_other_columns_are_ignored(members: api.LoadedModel) -> None:
    frame = frame_of(2).set_index(pd.Index(["b", "a"], name="member"))
    framed = members.predict(frame.assign(stays="yes", anything=pd.Series([[1], {}], frame.index)))
    assert list(framed.index) == ["b", "a"]
    assert framed.index.name == "member"
    assert list(framed) == ["prediction", "probability_no", "probability_yes"]


def test_a_frame_without_rows_has_the_types_of_one_with_rows(members: api.LoadedModel) -> None:
    none = members.predict(frame_of().head(0))
    assert len(none) == 0
    assert none.dtypes.to_dict() == members.predict(frame_of()).dtypes.to_dict()
    untyped = pd.DataFrame(columns=pd.Index([*MEMBER]))
    pd.testing.assert_frame_equal(members.predict(untyped), none, check_index_type=False)


@pytest.mark.parametrize(
    ("name", "values", "like"),
    [
        ("age", pd.array([40, 41, 42], "Int64"), [40, 41, 42]),
        ("age", np.array([40, 41, 42], "float16"), [40, 41, 42]),
        ("age", ["40", " 41", "42"], [40, 41, 42]),
        ("age", [40, "41", Decimal(42)], [40, 41, 42]),
        ("age", [np.int8(40), "41", np.float32(42)], [40, 41, 42]),
        ("age", pd.Categorical([40, 41, 42]), [40, 41, 42]),
        ("income", pd.array([1.5, None, 2], "Float64"), [1.5, None, 2]),
        ("income", [1.5, pd.NA, "NA"], [1.5, None, None]),
        ("income", [Decimal("1.5"), None, pd.NaT], [1.5, None, None]),
        ("income", pd.arrays.SparseArray([1.5, 0, 0]), [1.5, 0, 0]),
        ("income", pd.Series([1.5, None, 2], dtype=pd.ArrowDtype(pa.float32())), [1.5, None, 2]),
        ("city", pd.array(["Oslo", None, "Bergen"], "string"), ["Oslo", None, "Bergen"]),
        ("city", pd.Categorical(["Oslo", None, "Bergen"]), ["Oslo", None, "Bergen"]),
        ("city", pd.Categorical([7, None, "Oslo"]), ["7", None, "Oslo"]),
        ("city", [7, float("nan"), "Oslo"], ["7", None, "Oslo"]),
        ("city", [7.0, None, pd.NaT], ["7", None, None]),
        ("active", pd.array([True, None, False], "boolean"), [True, None, False]),
        ("active", [1, "false", None], [True, False, None]),
        ("joined", pd.DatetimeIndex(["2020-03-01 01:00", "NaT", "2020-03-02 00:00"]),
         ["2020-03-01T01:00:00Z", None, "2020-03-02T00:00:00Z"]),
        ("joined", pd.DatetimeIndex(["2020-03-01", "NaT", "2020-03-02"], tz="Asia/Tokyo"),
         ["2020-02-29T15:00:00Z", None, "2020-03-01T15:00:00Z"]),
        ("joined", [date(2020, 3, 1), "2020-03-01T02:00+02:00", pd.Timestamp(2020, 3, 1, tz="UTC")],
         ["2020-03-01", "2020-03-01", "2020-03-01"]),
        ("joined", [datetime(2020, 3, 1, tzinfo=UTC), pd.NaT, None], ["2020-03-01", None, None]),
    ],
)  # fmt: skip
def test_columns_of_any_type_mean_the_same(
    members: api.LoadedModel, name: str, values: Any, like: list[object]
) -> None:
    framed = members.predict(frame_of(**{name: values}))
    answers = members.predict([{**MEMBER, name: value} for value in like])
    assert [answer["prediction"] for answer in answers] == framed["prediction"].tolist()
    shares = [answer["probabilities"]["yes"] for answer in answers]
    np.testing.assert_allclose(shares, framed["probability_yes"], rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "values",
    [
        [[1], [2], [3]],
        [np.array([1, 2]), 1, "x"],
        [{}, {"a": 1}, None],
        [object(), 1, 2],
        [1j, 2, 3],
        [b"1", b"2", b"3"],
        pd.period_range("2020-01", periods=3, freq="M"),
        pd.cut(pd.Series([1, 2, 3]), 2),
        pd.to_timedelta([1, 2, 3]),
    ],
)
@pytest.mark.parametrize("name", [*MEMBER])
def test_values_that_no_feature_holds_are_faults(
    members: api.LoadedModel, name: str, values: Any
) -> None:
    with pytest.raises(RecordsRejected) as rejected:
        members.predict(frame_of(**{name: values}))
    assert {fault.field for fault in rejected.value.faults} == {name}
    with pytest.raises(RecordsRejected):
        members.predict([{**MEMBER, name: value} for value in values])


def test_values_of_numpy_pandas_and_datetime_in_records(members: api.LoadedModel) -> None:
    record = {
        "age": np.int64(40),
        "income": Decimal("30000.5"),
        "city": np.str_("Oslo"),
        "active": np.bool_(True),
        "joined": pd.Timestamp("2020-03-01"),
    }
    assert members.predict(record) == members.predict(MEMBER)
    missing = dict.fromkeys(["income", "city", "active", "joined"])
    for nothing in (pd.NA, pd.NaT, np.nan, None):
        record = {**MEMBER, **dict.fromkeys(missing, nothing)}
        assert members.predict(record) == members.predict({**MEMBER, **missing})


def test_a_frame_has_the_faults_that_the_service_finds(
    flights_model: api.LoadedModel, november: pd.DataFrame, client: TestClient
) -> None:
    features = list(flights_model.contract.feature_names)
    frame = november[features].head(4).astype(object).where(november[features].notna(), None)
    frame.loc[1, "dep_delay"] = "soon"
    frame.loc[1, "temp"] = np.inf
    frame.loc[2, "distance"] = None
    frame.loc[3, "hour"] = 1.5
    with pytest.raises(RecordsRejected) as rejected:
        flights_model.predict(frame.set_index(pd.Index([*"abcd"])))
    with pytest.raises(RecordsRejected) as of_records:
        flights_model.predict(frame.to_dict("records"))
    assert rejected.value.faults == of_records.value.faults
    assert [(fault.row, fault.field, fault.code) for fault in rejected.value.faults] == [
        (1, "dep_delay", "type"),
        (1, "temp", "not_finite"),
        (2, "distance", "missing"),
        (3, "hour", "type"),
    ]
    assert rejected.value.faults[0].expected == "a whole number"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"age": "Age"}), "the frame: no column 'age'; did you mean"),
        (lambda f: f.rename(columns={"city": "City"}), "the frame: no column 'city'; did you mean"),
        (lambda f: f[["city"]], "the frame: no column 'age'; its header is city"),
        (lambda f: f.iloc[:, :0], "the frame: no column 'age'; its header is empty"),
        (lambda f: pd.concat([f, f[["age"]]], axis=1), "the frame has several columns 'age'"),
        (lambda f: f.iloc[0], "can't predict a Series"),
        (lambda f: f.to_numpy(), "can't predict a ndarray"),
        (lambda f: "members.csv", "can't predict a str"),
        (lambda f: None, "can't predict a NoneType"),
    ],
)
def test_what_cannot_be_predicted_is_said_in_one_line(
    members: api.LoadedModel, change: Callable[[pd.DataFrame], Any], message: str
) -> None:
    with pytest.raises(TableError) as error:
        members.predict(change(frame_of()))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_feature_that_may_be_missing_needs_no_column(members: api.LoadedModel) -> None:
    framed = members.predict(frame_of()[["age"]])
    assert framed["prediction"][0] == members.predict({"age": 40})["prediction"]


@pytest.mark.parametrize("name", ["", "nothing"])
def test_a_model_that_is_not_there(name: str, flights_store: Path) -> None:
    with pytest.raises(TrivetError):
        api.load(name, models_dir=flights_store)


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (api.train, TrainSettings),
        (api.batch_predict, BatchSettings),
        (api.create_app, ServeSettings),
    ],
)
def test_the_arguments_are_the_settings(function: Callable[..., Any], settings: type) -> None:
    assert list(inspect.signature(function).parameters) == list(
        inspect.signature(settings).parameters
    )
    assert "model" in inspect.signature(api.serve).parameters
    assert inspect.signature(api.serve).parameters["port"].default == 8000


def test_type_checkers_know_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "from trivet.api import load, train\n"
        "reveal_type(train(data='x.csv', target='y', exclude=['a'], models_dir='m'))\n"
        "train(data='x.csv', traget='y')\n"
        "train(data='x.csv', target='y', identifiers='id')\n"
        "reveal_type(load().predict({'a': 1}))\n"
        "reveal_type(load().predict([{'a': 1}]))\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
    checked = subprocess.run(
        [*command, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    lines = [line.partition(": ")[2] for line in checked.stdout.splitlines()]
    assert lines[0].endswith('Revealed type is "trivet.train.run.TrainResult"')
    assert any("traget" in line for line in lines), checked.stdout
    assert any('"identifiers"' in line or "Argument 3" in line for line in lines), checked.stdout
    assert any("dict[" in line and "Revealed" in line for line in lines)
    assert any("list[" in line and "Revealed" in line for line in lines)


def test_a_service_is_tested_as_an_app(flights_store: Path) -> None:
    app = api.create_app(model="flights", models_dir=str(flights_store), max_rows=1)
    with TestClient(app) as client:
        assert client.get("/health/ready").status_code == 200


def test_serve_answers_until_it_is_told_to_stop(flights_store: Path, tmp_path: Path) -> None:
    port = free_port()
    code = (
        "from trivet.api import serve\n"
        "if __name__ == '__main__':\n"
        f"    serve(model='flights', models_dir={str(flights_store)!r}, port={port}, workers=2)\n"
    )
    (tmp_path / "run.py").write_text(code)
    process = subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: process.poll() is not None or is_ready(port))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
