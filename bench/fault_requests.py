"""Requests of many kinds, each with the answer that it must get."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contestants import ROOT
from rows import csv_rows

from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.rows.values import to_record

MODEL, TOLERANCE = "flights", 1e-9
JSON, CSV = "application/json", "text/csv"
LARGE_ROWS, MOST_ROWS, MOST_BYTES, MOST_HEAD = 1_000, 10_000, 4_000_000, 32_768

#: Says what is wrong with the content of an answer; nothing if it is right.
Check = Callable[[bytes], str]


@dataclass(frozen=True)
class Request:
    """What is sent, and what must come back; ``closes``: the service closes the connection then."""

    kind: str
    sent: bytes
    status: int
    check: Check
    closes: bool = False


class Flights:
    """Flights as records, and what each version of the model says to them by its `Predictor`."""

    def __init__(self, store: ModelStore) -> None:
        self.current = store.in_use(MODEL)
        predictors = {
            version: Predictor.load(store.artifact(MODEL, version))
            for version in store.versions(MODEL)
        }
        contract = predictors[self.current].contract
        rows = csv_rows(ROOT / "data/flights_november.csv", contract)
        self.records = [to_record(row, contract) for row in rows]
        self.late = {
            version: predictor.predict_records(self.records).probabilities[:, 1].tolist()
            for version, predictor in predictors.items()
        }

    def compare(self, turns: list[int], shares: list[float], version: str) -> str:
        """What is wrong with these answers, said to come from this version."""
        known = self.late.get(version)
        if known is None:
            return f"there is no version {version!r}"
        expected = [known[turn] for turn in turns]
        if len(shares) != len(expected):
            return f"{len(shares)} answers to {len(expected)} rows"
        if any(abs(a - b) > TOLERANCE for a, b in zip(shares, expected, strict=True)):
            return f"{version} answers {shares[:3]}, but its predictor {expected[:3]}"
        return ""


def one_row(flights: Flights, count: int = 500) -> list[Request]:
    """The plainest request, for a number of flights: what callers ask beside the trouble."""
    maker = Maker(flights, random.Random(0))  # noqa: S311 - the same ones each time
    return [maker.record() for _ in range(count)]


class Maker:
    """Makes requests of every kind, at random."""

    def __init__(self, flights: Flights, chance: random.Random) -> None:
        self._flights, self._chance = flights, chance
        often = [self.record, self.instances, self.table, self.table_for_table, self.tensors]
        often += [self.labels, self.chunked, self.wrong_type, self.unknown_field, self.no_field]
        often += [self.random_body, self.other_route]
        seldom = [self.random_head, self.long_head, self.long_body, self.many_rows]
        rare = [self.large, self.large_table, self.metrics]
        kinds = [(often, 100), (seldom, 20), (rare, 2)]
        self._kinds = [kind for each, _ in kinds for kind in each]
        self._weights = [weight for each, weight in kinds for _ in each]

    def some(self, count: int) -> Iterator[Request]:
        """So many requests of any kind."""
        for kind in self._chance.choices(self._kinds, self._weights, k=count):
            yield kind()

    def record(self) -> Request:
        [turn], [record] = self._pick(1)
        return Request("one record", post("/predict", dump(record)), 200, self._numbers([turn]))

    def instances(self) -> Request:
        turns, records = self._pick(self._chance.randint(1, 20))
        return self._instances("a few records", turns, records)

    def large(self) -> Request:
        turns, records = self._pick(LARGE_ROWS)
        return self._instances(f"{LARGE_ROWS:,} records", turns, records)

    def table(self) -> Request:
        turns, records = self._pick(self._chance.randint(1, 20))
        return Request("CSV", post("/predict", table_of(records), CSV), 200, self._numbers(turns))

    def table_for_table(self) -> Request:
        turns, records = self._pick(self._chance.randint(1, 20))
        return self._table_for_table("CSV for CSV", turns, records)

    def large_table(self) -> Request:
        turns, records = self._pick(LARGE_ROWS)
        return self._table_for_table(f"{LARGE_ROWS:,} rows of CSV", turns, records)

    def tensors(self) -> Request:
        turns, records = self._pick(self._chance.randint(1, 5))
        inputs = [
            {
                "name": name,
                "shape": [len(records)],
                "datatype": "BYTES" if isinstance(records[0][name], str) else "FP64",
                "data": [record[name] for record in records],
            }
            for name in records[0]
        ]

        def check(content: bytes) -> str:
            answer = json.loads(content)
            shares = next(
                output["data"]
                for output in answer["outputs"]
                if output["name"] == "probability_true"
            )
            return self._flights.compare(turns, shares, answer["model_version"])

        path = f"/v2/models/{MODEL}/infer"
        return Request("V2", post(path, dump({"inputs": inputs})), 200, check)

    def labels(self) -> Request:
        turns, records = self._pick(self._chance.randint(1, 5))
        late = self._flights.late[self._flights.current]
        expected = {"predictions": [late[turn] > 0.5 for turn in turns]}
        body = dump({"dataframe_records": records})
        return Request("MLflow", post("/invocations", body), 200, same(expected))

    def chunked(self) -> Request:
        [turn], [record] = self._pick(1)
        body, at = dump(record), self._chance.randint(1, 100)
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (body[:at], body[at:]))
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        sent = head + pieces + b"0\r\n\r\n"
        return Request("chunked", sent, 200, self._numbers([turn]))

    def wrong_type(self) -> Request:
        name = self._chance.choice(["month", "distance", "dep_delay", "temp"])
        odd = self._chance.choice(["far", [], {}, [1], True, "1e3", "\x00"])
        return self._broken("wrong type", {name: odd}, name, "type")

    def unknown_field(self) -> Request:
        name = "".join(self._chance.choices("abcdefgh_\u00e9\u2028", k=9))
        return self._broken("unknown field", {name: 1}, name, "unknown_field")

    def no_field(self) -> Request:
        name = self._chance.choice(["carrier", "hour", "distance"])
        return self._broken("missing field", {name: None}, name, "missing")

    def random_body(self) -> Request:
        # The first byte can't begin any UTF-8, so no such body is a JSON text.
        body = b"\x80" + self._chance.randbytes(self._chance.randint(0, 2_000))
        path, kind = (
            self._chance.choice(["/predict", "/invocations"]),
            self._chance.choice([JSON, CSV]),
        )
        return Request("random body", post(path, body, kind), 400, problem(400))

    def other_route(self) -> Request:
        path, status, check = self._chance.choice(
            [
                ("/health/live", 200, anything),
                ("/health/ready", 200, same({"status": "ready"})),
                ("/model", 200, self._names_the_version),
                ("/", 200, anything),
                ("/openapi.json", 200, anything),
                ("/v2/models/other", 404, anything),
                ("/%00%ff?a=b", 404, problem(404)),
                ("/predict", 405, problem(405)),
            ]
        )
        return Request(f"GET, {status}", get(path), status, check)

    def metrics(self) -> Request:
        return Request("metrics", get("/metrics"), 200, anything)

    def random_head(self) -> Request:
        sent = b"\x80" + self._chance.randbytes(self._chance.randint(0, 2_000))
        return Request("random bytes", sent, 400, problem(400), closes=True)

    def long_head(self) -> Request:
        lines = "".join(f"X-{turn}: {'x' * 4_000}\r\n" for turn in range(9))
        sent = f"GET /model HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()
        return Request("long head", sent, 431, problem(431), closes=True)

    def long_body(self) -> Request:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_BYTES + 1}\r\n\r\n"
        return Request("long body", head.encode(), 413, problem(413), closes=True)

    def many_rows(self) -> Request:
        body = b'{"instances": [%s{}]}' % (b"{}," * MOST_ROWS)
        return Request("too many rows", post("/predict", body), 413, problem(413), closes=True)

    def _pick(self, count: int) -> tuple[list[int], list[dict[str, Any]]]:
        turns = self._chance.choices(range(len(self._flights.records)), k=count)
        return turns, [dict(self._flights.records[turn]) for turn in turns]

    def _instances(self, kind: str, turns: list[int], records: list[dict[str, Any]]) -> Request:
        body = dump({"instances": records})
        return Request(kind, post("/predict", body), 200, self._numbers(turns))

    def _numbers(self, turns: list[int]) -> Check:
        def check(content: bytes) -> str:
            answer = json.loads(content)
            shares = [each["probabilities"]["true"] for each in answer["predictions"]]
            return self._flights.compare(turns, shares, answer["model_version"])

        return check

    def _table_for_table(
        self, kind: str, turns: list[int], records: list[dict[str, Any]]
    ) -> Request:
        def check(content: bytes) -> str:
            lines = list(csv.DictReader(io.StringIO(content.decode())))
            shares = [float(line["probability_true"]) for line in lines]
            return self._flights.compare(turns, shares, self._flights.current)

        sent = post("/predict", table_of(records), CSV, "Accept: text/csv\r\n")
        return Request(kind, sent, 200, check)

    def _broken(self, kind: str, change: Mapping[str, object], field: str, code: str) -> Request:
        """A few records, one of which has this change and so this fault."""
        _, records = self._pick(self._chance.randint(1, 5))
        row = self._chance.randrange(len(records))
        records[row] |= change

        def check(content: bytes) -> str:
            found = [
                (each["row"], each["field"], each["code"]) for each in json.loads(content)["errors"]
            ]
            return "" if found == [(row, field, code)] else f"{found}, not {(row, field, code)}"

        return Request(kind, post("/predict", dump({"instances": records})), 422, check)

    def _names_the_version(self, content: bytes) -> str:
        version = json.loads(content)["version"]
        return "" if version in self._flights.late else f"there is no version {version!r}"


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(path: str, body: bytes, kind: str = JSON, more: str = "") -> bytes:
    lines = f"Content-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + body


def table_of(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    lines = csv.DictWriter(text, records[0])
    lines.writeheader()
    lines.writerows(records)
    return text.getvalue().encode()


def anything(content: bytes) -> str:
    return "" if content else "no content"


def same(expected: object) -> Check:
    def check(content: bytes) -> str:
        found = json.loads(content)
        return "" if found == expected else f"{found}, not {expected}"

    return check


def problem(status: int) -> Check:
    def check(content: bytes) -> str:
        found = json.loads(content)
        right = found.get("status") == status and found.get("title") and found.get("detail")
        return "" if right else f"{found} is not a problem of status {status}"

    return check
