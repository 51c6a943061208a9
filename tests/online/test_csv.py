"""CSV on /predict, in and out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import NOVEMBER, serving
from tests.docs.test_readme import ONLINE, URL, without_varying
from tests.online.asking import (
    ASKED,
    CSV,
    HEADER,
    JSON,
    LINE,
    ROWS,
    ask_csv,
    ask_json,
    example,
    faults,
    of_one,
    problem,
)  # fmt: skip
from trivet.online.settings import ServeSettings


def test_the_example_of_the_documentation_gives_the_output_shown(
    flights_store: Path, tmp_path: Path
) -> None:
    (block,) = re.findall(r"```console\n\$ (.*?)\n(.*?)```", ONLINE, re.DOTALL)
    command, shown = block
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, cwd=tmp_path) as server:
        printed = subprocess.run(
            ["bash", "-c", command.replace(URL, server.url)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert without_varying(printed) == without_varying(shown)


def test_a_table_is_answered_as_its_records_are(
    client: TestClient, answers: list[dict[str, Any]]
) -> None:
    lines = NOVEMBER.read_text().splitlines()[: ROWS + 1]  # the identifier and the target, too
    response = ask_csv(client, "\n".join(lines))
    assert response.headers["content-type"] == JSON
    assert response.json()["predictions"] == answers


def test_a_table_is_answered_with_a_table_where_one_is_asked_for(
    client: TestClient, answers: list[dict[str, Any]]
) -> None:
    lines = NOVEMBER.read_text().splitlines()[: ROWS + 1]
    response = ask_csv(client, "\n".join(lines), accept=f"{CSV}, */*;q=0.1")
    assert response.headers["content-type"].partition(";")[0] == CSV
    header, *rows = response.text.splitlines()
    assert header == "prediction,probability_false,probability_true"
    expected = [
        ",".join((str(each["prediction"]).lower(), *map(repr, each["probabilities"].values())))
        for each in answers
    ]
    assert rows == expected


def test_records_are_answered_with_a_table_where_one_is_asked_for(client: TestClient) -> None:
    response = ask_json(client, "/predict", ASKED, accept=CSV)
    assert response.text == ask_csv(client, f"{HEADER}\n{LINE}\n", accept=CSV).text


@pytest.mark.parametrize(
    "accept", ["*/*", "", "application/json", "application/json, text/csv", "text/html, */*"]
)
def test_a_table_is_answered_with_json_otherwise(client: TestClient, accept: str) -> None:
    response = ask_csv(client, f"{HEADER}\n{LINE}\n", accept=accept)
    assert response.json()["predictions"] == [of_one(client)]


@pytest.mark.parametrize(
    "body",
    [
        f"{HEADER}\n{LINE}",
        f"{HEADER}\r\n{LINE}\r\n",
        f"\ufeff{HEADER}\n{LINE}\n",
        f"{HEADER}\n\n{LINE}\n\n",
        f'"month",{HEADER.removeprefix("month,")}\n{LINE.replace("UA", chr(34) + "UA" + chr(34))}',
        ",".join(reversed(HEADER.split(","))) + "\n" + ",".join(reversed(LINE.split(","))),
        f"flight_id,{HEADER},late,time_hour\nUA-1,{LINE},maybe,never\n",
        f",{HEADER}\n0,{LINE}\n",
        f"Unnamed: 0,{HEADER}\n0,{LINE}\n",
        f"__index_level_0__,{HEADER}\nUA-1,{LINE}\n",
        f"{HEADER},wind_gust,visib\n{LINE},,\n",
        f"{HEADER},wind_gust,visib\n{LINE},NA,null\n",
        f"{HEADER}\n{LINE.replace('11', ' 11.0 ')}\n",
    ],
    ids=[
        *("no-last-newline", "crlf", "bom", "blank-lines", "quoted", "other-order"),
        *("identifier-and-ignored", "pandas-labels", "pandas-labels-read", "pandas-labels-typed"),
        *("empty-cells", "missing-words", "spaces-around-numbers"),
    ],
)
def test_tables_that_mean_the_same(client: TestClient, body: str) -> None:
    assert ask_csv(client, body).json()["predictions"] == [of_one(client)]


def test_quoted_commas_and_line_ends_stay_in_their_cell(client: TestClient) -> None:
    for carrier in ("U,A", "U\nA", 'U"A'):
        quoted = '"' + carrier.replace('"', '""') + '"'
        response = ask_csv(client, f"{HEADER}\n{LINE.replace('UA', quoted)}\n")
        expected = of_one(client, {**ASKED, "carrier": carrier})
        assert response.json()["predictions"] == [expected], carrier


@pytest.mark.parametrize("media_type", ["text/csv; charset=utf-8", "TEXT/CSV"])
def test_a_table_by_other_names_is_taken(client: TestClient, media_type: str) -> None:
    headers = {"content-type": media_type}
    response = client.post("/predict", content=f"{HEADER}\n{LINE}", headers=headers)
    assert response.json()["predictions"] == [of_one(client)]


def test_a_header_alone_has_no_answers(client: TestClient) -> None:
    assert ask_csv(client, HEADER).json()["predictions"] == []
    table = ask_csv(client, HEADER, accept=CSV)
    assert table.text == "prediction,probability_false,probability_true\n"


@pytest.mark.parametrize("body", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_table_is_400(client: TestClient, body: bytes) -> None:
    assert "empty" in problem(ask_csv(client, body), 400)["detail"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_that_is_not_utf_8_is_400(client: TestClient, encoding: str) -> None:
    body = f"{HEADER}\n{LINE.replace('UA', 'ÜÄ')}".encode(encoding)
    assert "UTF-8" in problem(ask_csv(client, body), 400)["detail"]


def test_a_cell_may_be_of_any_length(client: TestClient) -> None:
    header, cells = HEADER.split(","), LINE.split(",")
    cells[header.index("carrier")] = "x" * 200_000
    assert ask_csv(client, f"{HEADER}\n{','.join(cells)}\n").status_code == 200


def test_lines_with_other_than_the_headers_cells_are_each_a_fault(client: TestClient) -> None:
    body = f"{HEADER}\n{LINE}\n11,5\n{LINE}\n{LINE},1\n"
    assert faults(ask_csv(client, body)) == [(1, None, "not_a_record"), (3, None, "not_a_record")]


def test_lines_that_do_not_fit_are_listed_up_to_a_hundred(client: TestClient) -> None:
    assert len(faults(ask_csv(client, HEADER + "\n11,5" * 5000))) == 100


def test_no_more_of_a_table_is_read_than_is_taken(client: TestClient) -> None:
    bad = "x" * 200_000  # which would be 400, as no cell may be so long
    lines = [LINE] * (ServeSettings.max_rows + 1)
    assert "10,000" in problem(ask_csv(client, "\n".join([HEADER, *lines, bad])), 413)["detail"]


def test_a_header_of_very_many_columns_is_looked_through_once(client: TestClient) -> None:
    response = ask_csv(client, "," * 200_000)
    assert faults(response) == [(None, "", "unknown_field")]


def test_a_column_that_is_there_twice_is_a_fault(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER},month\n{LINE},11\n")
    assert faults(response) == [(None, "month", "unknown_field")]
    assert "once" in response.json()["errors"][0]["expected"]


def test_an_unknown_column_is_a_fault_of_every_row(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER.replace('dep_delay', 'dep_dealy')}\n{LINE}\n{LINE}\n")
    unknown, missing = (0, "dep_dealy", "unknown_field"), (0, "dep_delay", "missing")
    assert faults(response)[:2] == [unknown, missing]
    assert response.json()["errors"][0]["nearest"] == "dep_delay"
    assert {row for row, _, _ in faults(response)} == {0, 1}


def test_cells_that_do_not_fit_are_all_listed(client: TestClient) -> None:
    response = ask_csv(client, f"{HEADER}\nMay,5,1_7,UA,EWR,ORD,1e999,\n")
    assert faults(response) == [
        (0, "month", "type"),
        (0, "hour", "type"),
        (0, "distance", "not_finite"),
        (0, "dep_delay", "missing"),
    ]


def test_a_regression_answers_with_one_column(diabetes: TestClient) -> None:
    record = example(diabetes)
    table = f"{','.join(record)}\n{','.join(map(str, record.values()))}\n"
    number = of_one(diabetes, record)["prediction"]
    assert ask_csv(diabetes, table, accept=CSV).text == f"prediction\n{number!r}\n"


def test_labels_with_commas_are_quoted(iris: TestClient) -> None:
    header = ask_json(iris, "/predict", {"instances": []}, accept=CSV).text
    expected = 'prediction,probability_setosa,"probability_versicolor, or blue",'
    assert header == expected + "probability_virginica\n"
