"""SageMaker: /ping, and CSV on /invocations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Server, serving
from tests.online.asking import (
    ASKED,
    CSV,
    FLIGHT,
    HEADER,
    JSON,
    LINE,
    ask_csv,
    assert_a_key_changes_nothing_else,
    assert_open,
    assert_refused_before_its_end,
    assert_refused_unsent,
    example,
    faults,
    of_one,
    post_csv,
    problem,
    refusals,
)  # fmt: skip
from trivet.model.artifact import Artifact


def table_of(records: list[dict[str, Any]], names: list[str], header: bool) -> str:
    """A table as SageMaker sends it: the cells of these columns, with or without their names."""
    lines = [
        ",".join("" if each.get(n) is None else str(each[n]) for n in names) for each in records
    ]
    return "".join(f"{line}\n" for line in ([",".join(names)] if header else []) + lines)


def test_ping_answers_as_health_does(client: TestClient) -> None:
    assert client.get("/ping").json() == client.get("/health/ready").json()


def test_invocations_take_the_json_of_predict(client: TestClient) -> None:
    contents: list[object] = [ASKED, {"instances": [ASKED, FLIGHT]}, {"instances": []}]
    for content in contents:
        expected = client.post("/predict", json=content).json()
        assert client.post("/invocations", json=content).json() == expected


@pytest.mark.parametrize("header", [True, False])
def test_each_line_of_a_table_has_a_line_of_answers(
    client: TestClient,
    flights: Artifact,
    november: list[dict[str, Any]],
    answers: list[dict[str, Any]],
    header: bool,
) -> None:
    names = list(flights.manifest.contract.feature_names)
    response = ask_csv(client, table_of(november, names, header), "/invocations", accept="*/*")
    assert response.headers["content-type"].partition(";")[0] == CSV
    assert response.headers["x-model-version"] == flights.manifest.version
    assert response.text.splitlines() == [
        ",".join((str(each["prediction"]).lower(), *map(repr, each["probabilities"].values())))
        for each in answers
    ]
    assert response.text.endswith("\n")


def test_a_table_with_a_header_may_have_other_columns_in_any_order(client: TestClient) -> None:
    expected = ask_csv(client, f"{HEADER}\n{LINE}", "/invocations", accept=CSV).text
    body = (
        f"\ufefflate,dep_delay,{HEADER.removesuffix(',dep_delay')}\n,64,{LINE.removesuffix(',64')}"
    )
    assert ask_csv(client, body, "/invocations", accept=CSV).text == expected


def test_row_labels_of_pandas_are_ignored_if_a_header_names_them(
    client: TestClient, flights: Artifact
) -> None:
    names = list(flights.manifest.contract.feature_names)
    header, line = table_of([ASKED], names, header=True).splitlines()
    expected = ask_csv(client, line, "/invocations", accept=CSV).text
    labelled = f",{header}\n0,{line}"
    assert ask_csv(client, labelled, "/invocations", accept=CSV).text == expected
    assert faults(ask_csv(client, f"0,{line}", "/invocations")) == [(0, None, "not_a_record")]


@pytest.mark.parametrize("accept", [JSON, "text/csv;q=0.4, application/json", "text/csv;q=0, */*"])
def test_a_table_is_answered_in_json_where_that_is_asked_for(
    client: TestClient, accept: str
) -> None:
    response = ask_csv(client, f"{HEADER}\n{LINE}", "/invocations", accept=accept)
    assert response.json() == client.post("/predict", json=ASKED).json()


def test_a_table_is_not_answered_as_an_image(client: TestClient) -> None:
    problem(ask_csv(client, f"{HEADER}\n{LINE}", "/invocations", accept="image/png"), 406)


def test_lines_that_do_not_fit_count_from_0_with_and_without_a_header(
    client: TestClient, flights: Artifact
) -> None:
    names = list(flights.manifest.contract.feature_names)
    records = [ASKED, {**ASKED, "month": "May"}]
    for header in (True, False):
        response = ask_csv(client, table_of(records, names, header), "/invocations")
        assert faults(response) == [(1, "month", "type")]
    assert faults(ask_csv(client, f"{LINE}\n{LINE},1\n", "/invocations"))[0][0] == 0


@pytest.mark.parametrize("body", [b"", b"\n", b"\xff"])
def test_a_table_of_nothing_is_400_at_invocations_too(client: TestClient, body: bytes) -> None:
    problem(ask_csv(client, body, "/invocations"), 400)


@pytest.mark.parametrize("model", ["diabetes", "iris", "wine"])
def test_tables_for_other_models_are_answered_alike(
    model: str, request: pytest.FixtureRequest
) -> None:
    client: TestClient = request.getfixturevalue(model)
    record = example(client)
    expected = of_one(client, record)
    line = table_of([record], list(record), header=False)
    printed = ask_csv(client, line, "/invocations", accept=CSV).text.splitlines()
    first, *shares = printed[0].split(",")
    assert len(printed) == 1
    assert first == str(expected["prediction"])
    assert [float(share) for share in shares] == [*expected.get("probabilities", {}).values()]


def test_sagemakers_environment_is_heeded(
    flights_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(flights_store / "flights", tmp_path / "opt/ml/model/flights")
    monkeypatch.setenv("TRIVET_SERVE_MODEL", "flights")
    monkeypatch.setenv("TRIVET_SERVE_MODELS_DIR", str(tmp_path / "opt/ml/model"))
    with serving(cwd=tmp_path, port_from="TRIVET_SERVE_PORT") as server:
        assert server.get("/ping")[0] == 200
        expected = server.post("/predict", ASKED)
        assert server.post("/invocations", ASKED) == expected
        assert expected[0] == 200


def test_ping_is_open(guarded: TestClient, overloaded: TestClient) -> None:
    assert_open(guarded, overloaded, "/ping")


def test_a_table_needs_a_key(guarded: TestClient, client: TestClient) -> None:
    for response in refusals(guarded, "POST", "/invocations", ASKED):
        problem(response, 401)
    assert_a_key_changes_nothing_else(guarded, client, "POST", "/invocations", ASKED)


def test_a_table_that_is_too_large_is_refused(small_server: Server) -> None:
    assert "40,000 bytes" in assert_refused_unsent(small_server, "/invocations")["detail"]
    assert_refused_before_its_end(small_server, "/invocations")
    assert post_csv(small_server, "/invocations", "\n".join([HEADER, *[LINE] * 51])) == 413
