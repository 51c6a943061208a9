"""The bodies of /invocations, as SageMaker and MLflow's scoring server take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions
from trivet.online.inference import Headers, Query
from trivet.online.live_model import Ready
from trivet.online.payloads import (
    csv_answer,
    json_answer,
    load_json,
    media_type,
    records_of,
    records_of_csv,
    rejected,
    wants_csv,
)
from trivet.online.schemas import CSV, JSON, to_json
from trivet.rows.contract import Contract

Records = Iterable[object]


def parse_invocation(headers: Headers, body: bytearray, ready: Ready) -> Query:
    """The query of a request in one of MLflow's forms, in /predict's JSON, or in CSV.

    Unless Accept asks for another, answers are in the form of the request: MLflow's are labels or
    numbers alone, and CSV has a line a row without a header, so that a line of the output belongs
    to a line of the input.
    """
    contract = ready.manifest.contract
    by_default = media_type(headers)
    if by_default == CSV:
        query = Query(records_of_csv(body, contract, header_needed=False), json_answer)
    else:
        query = _query_of_json(load_json(body), contract)
    in_json = headers.get(b"accept", b"").startswith(JSON.encode())
    if wants_csv(headers) or (by_default == CSV and not in_json):
        return Query(query.records, partial(csv_answer, header=False), CSV)
    return query


def _query_of_json(content: object, contract: Contract) -> Query:
    if isinstance(content, Mapping):
        for form, read in FORMS.items():
            if form in content and form not in contract.known_names:
                _require_nothing_beside(form, content)
                return Query(read(content[form]), labels_alone)
    return Query(records_of(content, contract), json_answer)


def labels_alone(predictions: Predictions, manifest: Manifest) -> bytes:
    """The answer in MLflow's form."""
    return to_json({"predictions": predictions.values})


def _of_split(split: Any) -> Records:
    """A table as pandas' orient="split" writes it."""
    match split:
        case {"columns": [*names], "data": [*rows]}:
            wrong = (row for row in rows if not isinstance(row, list) or len(row) != len(names))
            named = all(isinstance(name, str) for name in names) and len({*names}) == len(names)
            if named and next(wrong, None) is None:
                return (dict(zip(names, row, strict=True)) for row in rows)
    expected = '{"columns": [names, each once], "data": [rows of as many cells]}'
    raise rejected("dataframe_split", "type", expected)


def _of_records(records: Any) -> Records:
    if isinstance(records, list):
        return records
    raise rejected("dataframe_records", "type", "a list of records")


def _of_inputs(inputs: Any) -> Records:
    """A list of records, or lists of values by column."""
    if isinstance(inputs, list):
        return inputs
    if isinstance(inputs, Mapping) and all(isinstance(each, list) for each in inputs.values()):
        lengths = {len(values) for values in inputs.values()}
        if len(lengths) == 1:
            rows = zip(*inputs.values(), strict=True)
            return (dict(zip(inputs, row, strict=True)) for row in rows)
    raise rejected("inputs", "type", "a list of records, or lists of one length by column")


#: MLflow's forms: the key that marks each, and what reads its value.
FORMS: Mapping[str, Callable[[Any], Records]] = {
    "dataframe_split": _of_split,
    "dataframe_records": _of_records,
    "inputs": _of_inputs,
}


def _require_nothing_beside(form: str, content: Mapping[str, object]) -> None:
    for name, value in content.items():
        if name != form and not (name == "params" and not value):
            raise rejected(name, "unknown_field", f"nothing beside {form}")
