"""What clients of MLflow's scoring server ask: POST /invocations with JSON in one of its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trivet.online.direct import Dialect
from trivet.online.inference import Query
from trivet.online.live_model import Ready
from trivet.online.negotiation import Headers, choose
from trivet.online.payloads import (
    csv_lines,
    json_answer,
    labels_alone,
    load_json,
    records_of,
    rejected,
    require_alone,
)
from trivet.online.schemas import CSV, JSON, TEXT, LabelsResponse, Schema, reference
from trivet.online.service import Service
from trivet.rows.contract import Contract

Records = Iterable[object]


def add_to(service: Service) -> None:
    """Add the route."""
    about = f"JSON in one of the forms {', '.join(FORMS)} is answered with predictions alone."
    dialect = Dialect("MLflow", about, JSON, parse_json, reference("Invocation"), LabelsResponse)
    service.predict_at("/invocations", dialect)
    service.contract_schemas["Invocation"] = invocation


def invocation(contract: Contract) -> Schema:
    """The schema of a body: one of MLflow's forms, or that of /predict."""
    rows = {"type": "array", "items": reference("Record")}
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": TEXT, "uniqueItems": True},
            "data": {"type": "array", "items": {"type": "array"}},
        },
        "required": ["columns", "data"],
    }
    columns = {"type": "object", "additionalProperties": {"type": "array"}}
    values = dict(zip(FORMS, (split, rows, {"anyOf": [rows, columns]}), strict=True))
    forms = [
        {
            "type": "object",
            "properties": {form: value, "params": {}},
            "required": [form],
            "additionalProperties": False,
        }
        for form, value in values.items()
    ]
    return {
        "title": "Invocation",
        "anyOf": [*forms, reference("PredictRequest")],
        "example": {"dataframe_records": [contract.example]},
    }


def parse_json(headers: Headers, body: bytearray, ready: Ready) -> Query:
    """The query of a request in one of MLflow's forms, or in that of /predict."""
    wanted = choose(headers, JSON, CSV)
    query = _query(load_json(body), ready.manifest.contract)
    if wanted == CSV:
        return Query(query.records, csv_lines, CSV)
    return query


def _query(content: object, contract: Contract) -> Query:
    if isinstance(content, Mapping):
        for form, (read, expected) in FORMS.items():
            if form in content and form not in contract.known_names:
                require_alone(form, content, "params")
                if (records := read(content[form])) is None:
                    raise rejected(form, "type", expected)
                return Query(records, labels_alone)
    return Query(records_of(content, contract), json_answer)


def _of_split(split: Any) -> Records | None:
    """A table as pandas' orient="split" writes it."""
    match split:
        case {"columns": [*names], "data": [*rows]}:
            fit = all(isinstance(row, list) and len(row) == len(names) for row in rows)
            named = all(isinstance(name, str) for name in names) and len({*names}) == len(names)
            if named and fit:
                return (dict(zip(names, row, strict=True)) for row in rows)
    return None


def _of_records(records: Any) -> Records | None:
    return records if isinstance(records, list) else None


def _of_inputs(inputs: Any) -> Records | None:
    """A list of records, or a list of values for each column."""
    if not isinstance(inputs, Mapping):
        return _of_records(inputs)
    lengths = {len(each) if isinstance(each, list) else None for each in inputs.values()}
    if None in lengths or len(lengths) != 1:
        return None
    rows = zip(*inputs.values(), strict=True)
    return (dict(zip(inputs, row, strict=True)) for row in rows)


#: MLflow's forms: the key that marks each, what reads its value, and what that should be.
FORMS: Mapping[str, tuple[Callable[[Any], Records | None], str]] = {
    "dataframe_split": (
        _of_split, '{"columns": [unique names], "data": [rows, each with a cell per column]}',
    ),
    "dataframe_records": (_of_records, "a list of records"),
    "inputs": (_of_inputs, "a list of records, or a list for each column, all of one length"),
}  # fmt: skip
