"""What callers accept, and bodies that are compressed, as RFC 9110 has them."""

from __future__ import annotations

import gzip
import json
import re
import urllib.request
import zlib
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import Server, serving
from tests.online.asking import (
    ASKED,
    CSV,
    HEADER,
    JSON,
    LINE,
    ask_json,
    of_one,
    problem,
    rejected,
)  # fmt: skip
from trivet.online.inference import LARGE, RATIO
from trivet.online.negotiation import COMPRESSED_FROM, MEMBERS, choose
from trivet.online.problems import ProblemError

BODY = json.dumps(ASKED).encode()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", CSV),
        ("TEXT/CSV", CSV),
        ("text/csv; charset=utf-8", CSV),
        ("text/csv, */*", CSV),
        ("*/*, text/csv", CSV),
        ("text/csv, application/json", CSV),
        ("application/json, text/csv", JSON),
        ("text/csv;q=0.5, application/json", JSON),
        ("text/csv ; q=0.5 ,application/json;q=0.499", CSV),
        ("text/csv;q=0, */*;q=0.1", JSON),
        ("application/json;q=0, */*", CSV),
        ("application/*;q=0, */*;q=0.001", CSV),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/csv;q=nan, application/json;q=0.1", JSON),
        ("text/csv;q=2, application/json;q=0.1", JSON),
        (",, text/csv,", CSV),
    ],
)
def test_the_best_of_two_is_chosen(accept: str, expected: str) -> None:
    assert choose({b"accept": accept.encode()}, JSON, CSV) == expected


def test_the_first_is_chosen_without_accept() -> None:
    assert choose({}, CSV, JSON) == CSV


@pytest.mark.parametrize(
    "accept", ["text/html", "*/*;q=0", "application/json;q=0.000", "text/csv;q=0, image/*", ";q=1"]
)
def test_what_can_not_be_answered_is_406(client: TestClient, accept: str) -> None:
    with pytest.raises(ProblemError):
        choose({b"accept": accept.encode()}, JSON, CSV)
    body = problem(ask_json(client, "/predict", ASKED, accept), 406)
    assert "choose from application/json, text/csv" in body["detail"]


@pytest.mark.parametrize("media_type", [JSON, CSV])
def test_each_form_is_answered_in_the_one_that_is_liked_best(
    client: TestClient, media_type: str
) -> None:
    body = BODY if media_type == JSON else f"{HEADER}\n{LINE}".encode()
    for accept, expected in (("text/csv;q=0.4, application/json", JSON), ("text/*, */*;q=0", CSV)):
        headers = {"content-type": media_type, "accept": accept}
        response = client.post("/predict", content=body, headers=headers)
        assert response.headers["content-type"] == expected
        assert "accept" in response.headers["vary"]
    headers = {"content-type": media_type, "accept": "image/png"}
    problem(client.post("/predict", content=body, headers=headers), 406)


def test_lines_of_one_header_are_one_list(client: TestClient) -> None:
    headers = [("content-type", JSON), ("accept", "text/html"), ("accept", CSV)]
    response = client.post("/predict", content=BODY, headers=headers)
    assert response.headers["content-type"] == CSV


def ask_encoded(client: TestClient, body: bytes, coding: str = "gzip", accept: str = JSON) -> Any:
    headers = {"content-type": JSON, "content-encoding": coding, "accept": accept}
    return client.post("/predict", content=body, headers=headers)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip ", "identity, gzip"])
def test_a_compressed_body_is_read(client: TestClient, coding: str) -> None:
    response = ask_encoded(client, gzip.compress(BODY), coding)
    assert response.json()["predictions"] == [of_one(client)]


@pytest.mark.parametrize("coding", ["", "identity", "Identity", "identity,identity"])
def test_identity_is_no_coding(client: TestClient, coding: str) -> None:
    assert ask_encoded(client, BODY, coding).status_code == 200


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "br, gzip", "\xff"])
def test_another_coding_is_415_and_names_what_is_read(client: TestClient, coding: str) -> None:
    headers = {b"content-encoding": coding.encode("latin-1"), b"content-type": JSON.encode()}
    response = client.post("/predict", content=gzip.compress(BODY), headers=headers)
    assert "with gzip" in problem(response, 415)["detail"]
    assert response.headers["accept-encoding"] == "gzip, identity"


def test_another_media_type_is_415_and_names_what_is_read(client: TestClient) -> None:
    response = client.post("/predict", content=BODY, headers={"content-type": "text/html"})
    assert response.headers["accept"] == f"{JSON}, {CSV}"


def test_a_large_compressed_body_is_answered_as_a_plain_one(
    client: TestClient, november: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> None:
    body = json.dumps({"instances": november}).encode()
    assert len(body) > LARGE
    for compressed in (gzip.compress(body), gzip.compress(body[:999]) + gzip.compress(body[999:])):
        assert ask_encoded(client, compressed).json()["predictions"] == answers
    stored = gzip.compress(body, 0)
    assert len(stored) > LARGE
    assert ask_encoded(client, stored).json()["predictions"] == answers


WHOLE = gzip.compress(BODY, mtime=0)  # its first bytes are in the name of a test


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "ends too early"),
        (WHOLE[:5], "ends too early"),
        (WHOLE[:-1], "ends too early"),
        (WHOLE[:-8] + b"\0" * 8, "was changed"),
        (WHOLE + b"garbage", "not gzip"),
        (WHOLE + b"\0", "ends too early|not gzip"),
        (BODY, "not gzip"),
        (zlib.compress(BODY), "not gzip"),
        (gzip.compress(b"") * (MEMBERS + 1), "more than 100 parts"),
    ],
)
def test_a_body_that_is_not_whole_is_400(client: TestClient, body: bytes, reason: str) -> None:
    assert re.search(reason, problem(ask_encoded(client, body), 400)["detail"])


def test_a_body_that_expands_too_far_is_413(small_server: Server) -> None:
    before = rejected(small_server, "body_too_large")
    for content in (BODY + b" " * 40_001, BODY + b" " * 40_000_000):
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        body = gzip.compress(content)
        request = urllib.request.Request(small_server.url + "/predict", body, headers)
        status, answer = small_server.ask(request)
        assert status == 413
        assert b"expands to more than" in answer
    assert rejected(small_server, "body_too_large") == before + 2


def test_a_body_is_counted_as_it_expands_to_even_where_that_is_small(
    flights_store: Path, tmp_path: Path
) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store), "--max-body", "300")
    with serving(*options, cwd=tmp_path) as server:
        for spaces, expected in ((0, 200), (300, 413)):
            headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
            body = gzip.compress(BODY + b" " * spaces)
            request = urllib.request.Request(server.url + "/predict", body, headers)
            assert server.ask(request)[0] == expected


def test_a_body_that_expands_more_than_rows_do_is_413(client: TestClient) -> None:
    body = gzip.compress(BODY + b" " * 1_000_000)
    assert len(body) * RATIO < 1_000_000
    detail = problem(ask_encoded(client, body), 413)["detail"]
    assert f"more than {len(body) * RATIO:,} bytes" in detail


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip, identity", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("identity, gzip;q=0.5", False),
    ],
)
def test_a_large_answer_is_compressed_where_that_is_asked_for(
    client: TestClient, november: list[dict[str, Any]], answers: object, accepted: str,
    is_compressed: bool,
) -> None:  # fmt: skip
    content = {"instances": november}
    response = client.post("/predict", json=content, headers={"accept-encoding": accepted})
    assert ("content-encoding" in response.headers) == is_compressed
    assert (int(response.headers["content-length"]) < len(response.content)) == is_compressed
    assert response.json()["predictions"] == answers
    assert response.headers.get_list("vary") == ["accept", "accept-encoding"]


@pytest.mark.parametrize("accept", [JSON, CSV])
def test_answers_are_compressed_from_a_size_on(
    client: TestClient, november: list[dict[str, Any]], accept: str
) -> None:
    found = set()
    for rows in (1, 20, 60, 100, 300):
        headers = {"accept-encoding": "gzip", "accept": accept}
        response = client.post("/predict", json={"instances": november[:rows]}, headers=headers)
        is_large = len(response.content) >= COMPRESSED_FROM
        assert (response.headers.get("content-encoding") == "gzip") == is_large
        found.add(is_large)
    assert found == {True, False}
