"""The bodies of /predict: JSON or CSV in, JSON or CSV out."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from itertools import chain
from typing import Any

import orjson

from trivet.errors import Fault, RecordsRejected, shortened
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions
from trivet.online.inference import Query
from trivet.online.live_model import Ready
from trivet.online.negotiation import Headers, choose
from trivet.online.problems import ProblemError
from trivet.online.schemas import CSV, JSON, to_json
from trivet.rows.contract import Contract, Label
from trivet.rows.text import split_cells
from trivet.rows.values import FAULTS_LISTED, kind_of_cells, parse_cell

_UNREADABLE: dict[type[Exception], str] = {
    json.JSONDecodeError: "{}",
    UnicodeDecodeError: "it is not UTF-8",
    RecursionError: "it is nested too deeply",
    ValueError: "a whole number in it has too many digits",
}


def parse_predict(headers: Headers, body: bytearray, ready: Ready) -> Query:
    """The query of a /predict request: records in JSON, or in CSV with a header line."""
    contract = ready.manifest.contract
    wanted = choose(headers, JSON, CSV)
    if media_type(headers) == CSV:
        records: Iterable[object] = records_of_csv(body, contract)
    else:
        records = records_of(load_json(body), contract)
    return Query(records, csv_answer if wanted == CSV else json_answer, wanted)


def media_type(headers: Headers) -> str:
    """`JSON` or `CSV`, and `JSON` if no header says; raises a 415 problem for any other."""
    return _media_type(headers.get(b"content-type", b""))


@lru_cache(100)
def _media_type(header: bytes) -> str:
    kind = header.decode("latin-1").partition(";")[0].strip().lower()
    if kind in ("", JSON) or kind.endswith("+json"):
        return JSON
    if kind == CSV:
        return CSV
    detail = (
        f"the body is {kind}; send JSON with the header Content-Type: {JSON}, or a table with a "
        f"header line as {CSV}"
    )
    raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, {"Accept": f"{JSON}, {CSV}"})


def load_json(body: bytearray) -> object:
    """The value of a JSON text in UTF-8; raises a 400 problem."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _load_more(body)


def _load_more(body: bytearray) -> object:
    """As `load_json`, and takes what other writers of JSON add, such as NaN."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = next(text for kind, text in _UNREADABLE.items() if isinstance(error, kind))
        detail = f"the body can't be read as JSON: {reason.format(error)}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


def records_of(content: object, contract: Contract) -> list[object]:
    """The records of a JSON value: those in ``instances``, or the one bare record."""
    if not isinstance(content, Mapping):
        raise rejected(None, "not_a_record", 'a record, or {"instances": [records]}')
    records = content.get("instances")
    if not isinstance(records, list):
        if "instances" in content and "instances" not in contract.feature_names:
            raise rejected("instances", "type", "a list of records")
        return [content]
    require_alone("instances", content, "parameters")  # Vertex AI's
    return records


def require_alone(name: str, content: Mapping[str, object], ignored: str) -> None:
    """Raise `RecordsRejected` if there is more than the records: it may be meant to matter."""
    if others := content.keys() - {name, ignored}:
        raise rejected(min(others), "unknown_field", f"nothing beside {name}")


def records_of_csv(
    body: bytearray, contract: Contract, header_needed: bool = True
) -> Iterator[dict[str, object]]:
    """The records of a CSV table in UTF-8, read one by one, cells by their column's kind.

    The first line names the columns. If no header is needed and it names none, the cells are those
    of the features in order. Raises a 400 problem if there is no table, and `RecordsRejected` for
    lines with too few or too many cells, up to `FAULTS_LISTED`.
    """
    lines = _csv_lines(body)
    header = next(lines, None)
    if not header_needed and header and contract.known_names.isdisjoint(header):
        header, lines = list(contract.feature_names), chain([header], lines)
    if header is None:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body is empty; send a header line and rows")
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise rejected(min(twice), "unknown_field", "each column once")
    kinds = {column.name: kind_of_cells(column) for column in contract.columns}
    faults: list[Fault] = []
    for row, cells in enumerate(lines):
        if len(faults) >= FAULTS_LISTED:
            break
        if len(cells) == len(header):
            yield {
                name: parse_cell(kinds[name], cell) if name in kinds else cell
                for name, cell in zip(header, cells, strict=True)
            }
        else:
            expected = f"{len(header)} cells, as in the header, not {len(cells)}"
            faults.append(Fault(row=row, code="not_a_record", expected=expected))
    if faults:
        raise RecordsRejected(faults)


def json_answer(predictions: Predictions, manifest: Manifest) -> bytes:
    """The body of an answer, as `PredictResponse` describes it."""
    about = _about(manifest.name, manifest.version)
    if predictions.probabilities is None:
        return b'{"predictions":%b,%b' % (to_json(predictions.records(manifest.contract)), about)
    target = manifest.contract.target
    row, texts = _template(target.labels, target.label_names)
    numbers = iter(to_json(predictions.probabilities.ravel().tolist())[1:-1].split(b","))
    labels = map(texts.__getitem__, predictions.values)
    # Not strict: where there are no rows, there is one number, which is empty.
    rows = map(row.__mod__, zip(labels, *[numbers] * len(target.labels), strict=False))
    return b'{"predictions":[%b],%b' % (b",".join(rows), about)


def labels_alone(predictions: Predictions, manifest: Manifest) -> bytes:
    """The body of an answer, as `LabelsResponse` describes it."""
    return to_json({"predictions": predictions.values})


def answer_columns(predictions: Predictions, contract: Contract) -> dict[str, list[Any]]:
    """The answers by column, named as `trivet batch-predict` names them."""
    columns: list[list[Any]] = [list(predictions.values)]
    if predictions.probabilities is not None:
        columns += predictions.probabilities.T.tolist()
    return dict(zip(contract.target.answer_names, columns, strict=True))


def csv_answer(predictions: Predictions, manifest: Manifest, header: bool = True) -> bytes:
    """The answers as CSV; booleans are written as in JSON."""
    columns = answer_columns(predictions, manifest.contract)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if header:
        lines.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        lines.writerow(str(cell).lower() if isinstance(cell, bool) else cell for cell in row)
    return text.getvalue().encode()


#: As `csv_answer`, without a header line: each line answers a row.
csv_lines = partial(csv_answer, header=False)


def rejected(field: str | None, code: str, expected: str) -> RecordsRejected:
    """Rejects a request for a fault that is not of one record."""
    field = None if field is None else shortened(field)
    return RecordsRejected([Fault(field=field, code=code, expected=expected)])


@lru_cache(100)
def _template(
    labels: tuple[Label, ...], names: tuple[str, ...]
) -> tuple[bytes, dict[Label | float, bytes]]:
    """The text of one answer, for `%` with its label and probabilities, and those of the labels.

    To fill it costs less than to write a dict for each row.
    """
    fields = (b"%b:%%b" % to_json(name).replace(b"%", b"%%") for name in names)
    row = b'{"prediction":%%b,"probabilities":{%b}}' % b",".join(fields)
    return row, {label: to_json(label) for label in labels}


@lru_cache(100)
def _about(model: str, version: str) -> bytes:
    """The end of an answer."""
    return to_json({"model": model, "model_version": version})[1:]


def _csv_lines(body: bytearray) -> Iterator[list[str]]:
    """The cells of each line of a CSV text that is not blank."""
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError:
        detail = "the body can't be read as CSV: it is not UTF-8"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None
    yield from filter(None, split_cells(text))
