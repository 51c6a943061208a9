"""From the body of a request to records, and from predictions to the body of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from trivet.artifact import Manifest
from trivet.contract import Contract
from trivet.errors import Fault, RecordsRejected
from trivet.online.problems import ProblemError
from trivet.online.schemas import to_json
from trivet.predictor import Predictions

_UNREADABLE: dict[type[Exception], str] = {
    json.JSONDecodeError: "{}",
    UnicodeDecodeError: "it is not UTF-8",
    RecursionError: "it is nested too deeply",
    ValueError: "a whole number in it has too many digits",
}


def require_json(headers: Mapping[str, str]) -> None:
    """Raise a 415 problem for a body that is not plain JSON; no media type is taken for JSON."""
    if encoding := headers.get("content-encoding"):
        detail = f"the body is encoded as {encoding}; send it without a Content-Encoding"
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    media_type = headers.get("content-type") or "application/json"
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body is {media_type}; send JSON with the header Content-Type: application/json",
        )


def parse_records(body: bytes, contract: Contract) -> list[object]:
    """The records of a body: those in ``instances``, or the one bare record.

    Raises a 400 problem for broken JSON, `RecordsRejected` for JSON that can't hold records.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = next(text for kind, text in _UNREADABLE.items() if isinstance(error, kind))
        detail = f"the body can't be read as JSON: {reason.format(error)}"
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None
    if not isinstance(content, Mapping):
        raise _rejected(None, "not_a_record", 'a record, or {"instances": [records]}')
    records = content.get("instances")
    if not isinstance(records, list):
        if "instances" in content and "instances" not in contract.feature_names:
            raise _rejected("instances", "type", "a list of records")
        return [content]
    if beside := [name for name in content if name != "instances"]:
        raise _rejected(beside[0], "unknown_field", "nothing beside instances")
    return records


def answer(predictions: Predictions, manifest: Manifest) -> bytes:
    """The body of an answer, as `PredictResponse` describes it."""
    rows: list[dict[str, object]]
    if predictions.probabilities is None:
        rows = [{"prediction": number} for number in predictions.values]
    else:
        names = manifest.contract.target.label_names
        rows = [
            {"prediction": label, "probabilities": dict(zip(names, shares, strict=True))}
            for label, shares in zip(
                predictions.values, predictions.probabilities.tolist(), strict=True
            )
        ]
    content = {"predictions": rows, "model": manifest.name, "model_version": manifest.version}
    return to_json(content)


def _rejected(field: str | None, code: str, expected: str) -> RecordsRejected:
    return RecordsRejected([Fault(field=field, code=code, expected=expected)])
