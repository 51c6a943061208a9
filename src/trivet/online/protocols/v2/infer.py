"""An infer request becomes a query, and its predictions the outputs that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from itertools import chain, islice
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from trivet.errors import RecordsRejected
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions
from trivet.online.by_name import asked, require_json
from trivet.online.inference import Query
from trivet.online.live_model import RawHeaders, Ready
from trivet.online.negotiation import Headers
from trivet.online.payloads import answer_columns, load_json
from trivet.online.problems import ProblemError
from trivet.online.protocols.v2.tensors import (
    NO_PARAMETERS,
    Parameters,
    Tensor,
    binary_of,
    column_of,
)
from trivet.online.schemas import JSON, to_json
from trivet.rows.contract import Contract
from trivet.rows.values import FAULTS_LISTED

#: The header for the length of the JSON where binary data follows it, and the type of such a body.
JSON_LENGTH, OCTETS = b"inference-header-content-length", "application/octet-stream"


class Output(BaseModel):
    """A requested output."""

    name: str
    parameters: Parameters | None = None


class InferRequest(BaseModel):
    """A request for predictions; without ``outputs``, the answer has all of them."""

    id: str | None = None
    parameters: Parameters | None = None
    # As with a tensor's shape: a fault for each item would take far more memory than the body.
    inputs: list[Tensor] = Field(fail_fast=True)
    outputs: list[Output] | None = Field(default=None, fail_fast=True)


#: The models of the items of a request's lists.
ITEMS: Mapping[str, type[BaseModel]] = {"inputs": Tensor, "outputs": Output}


class InferResponse(BaseModel):
    """The answers: a tensor for each column."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


def parse_infer(
    headers: Headers, body: bytearray, ready: Ready, model: str, version: str | None = None
) -> Query:
    """Predict rows.

    Predictions are in their order. A 400 lists all that is wrong with the tensors.
    """
    known = outputs_of(asked(ready, model, version).contract)
    json_text, binary = _parts(headers, body)
    content = load_json(json_text)
    try:
        request = InferRequest.model_validate(content)
    except ValidationError:
        raise _bad(_malformed(content)) from None
    faults: list[object] = []
    columns = _columns(request.inputs, binary, faults)
    outputs = request.outputs or []
    unknown = dict.fromkeys(each.name for each in outputs if each.name not in known)
    if faults or unknown:
        choice = f"choose from {', '.join(known)}"
        raise _bad(chain(faults, (f"outputs: no {name!r}, {choice}" for name in unknown)))
    records = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    wanted = dict.fromkeys(known, (request.parameters or NO_PARAMETERS).binary_data_output)
    if outputs:
        said = {each.name: (each.parameters or NO_PARAMETERS).binary_data for each in outputs}
        wanted = {name: wanted[name] if own is None else own for name, own in said.items()}
    more: RawHeaders = []
    write = partial(_answer, request.id, wanted, more)
    return Query(records, write, OCTETS if any(wanted.values()) else JSON, more)


def outputs_of(contract: Contract) -> dict[str, str]:
    """Datatypes of the outputs by name."""
    datatypes = dict.fromkeys(contract.target.answer_names, "FP64")
    if labels := contract.target.labels:
        datatypes["prediction"] = {bool: "BOOL", int: "INT64", str: "BYTES"}[type(labels[0])]
    return datatypes


def _parts(headers: Headers, body: bytearray) -> tuple[bytearray, memoryview]:
    """The JSON of a body, and the binary data that follows it."""
    length = headers.get(JSON_LENGTH)
    if length is not None:  # clients send such a body with any media type, or none
        headers = {**headers, b"content-type": JSON.encode()}
    require_json(headers)
    if length is None:
        return body, memoryview(b"")
    if not (length.isdigit() and len(length) < 20 and int(length) <= len(body)):
        raise _bad(["Inference-Header-Content-Length: it is the length of the JSON in the body"])
    return body[: int(length)], memoryview(body)[int(length) :]


def _malformed(content: object) -> Iterator[str]:
    """What is wrong with a request, its lists item by item."""
    lists: dict[str, list[object]] = {}
    if isinstance(content, dict):
        lists = {name: content[name] for name in ITEMS if isinstance(content.get(name), list)}
        content = content | {name: [] for name in lists}
    yield from _faults_of(InferRequest, content)
    for name, items in lists.items():
        for position, item in enumerate(items):
            yield from _faults_of(ITEMS[name], item, name, position)


def _faults_of(model: type[BaseModel], content: object, *place: object) -> Iterator[str]:
    try:
        model.model_validate(content)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            yield f"{'.'.join(map(str, (*place, *fault['loc'])))}: {fault['msg']}"


def _columns(
    tensors: Iterable[Tensor], binary: memoryview, faults: list[object]
) -> dict[str, list[Any]]:
    """The columns of values by name; adds what is wrong with the tensors."""
    columns: dict[str, list[Any]] = {}
    start = 0
    for tensor in tensors:
        end = start + (tensor.parameters or NO_PARAMETERS).binary_data_size
        if tensor.name in columns:
            faults.append(f"inputs: {tensor.name!r} appears twice")
        try:
            columns[tensor.name] = column_of(tensor, binary[start:end])
        except RecordsRejected as error:
            faults += error.faults
        if len(faults) >= FAULTS_LISTED:
            return columns
        start = end
    if start != len(binary):
        faults.append(f"{len(binary):,} bytes follow the JSON; by their sizes it is {start:,}")
    if not faults and len({*map(len, columns.values())}) != 1:
        faults.append("inputs: send tensors of one length, one for each column")
    return columns


def _answer(
    request_id: str | None,
    wanted: Mapping[str, bool],
    more: RawHeaders,
    predictions: Predictions,
    manifest: Manifest,
) -> bytes:
    """The body of an answer with the outputs ``wanted``, some in binary; adds its header."""
    columns = answer_columns(predictions, manifest.contract)
    datatypes, rows = outputs_of(manifest.contract), [len(predictions.values)]
    outputs: list[dict[str, Any]] = []
    following = []
    for name, is_binary in wanted.items():
        about: dict[str, Any] = {"name": name, "shape": rows, "datatype": datatypes[name]}
        if is_binary:
            following.append(binary_of(columns[name], datatypes[name]))
            about["parameters"] = {"binary_data_size": len(following[-1])}
        else:
            about["data"] = columns[name]
        outputs.append(about)
    content = {"model_name": manifest.name, "model_version": manifest.version, "outputs": outputs}
    text = to_json(content if request_id is None else {"id": request_id, **content})
    if following:
        more.append((JSON_LENGTH, str(len(text)).encode()))
    return b"".join([text, *following])


def _bad(faults: Iterable[object]) -> ProblemError:
    detail = "; ".join(map(str, islice(faults, FAULTS_LISTED)))
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)
