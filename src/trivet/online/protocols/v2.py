"""The Open Inference Protocol, version 2: a named tensor for each column, in and out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel, Field, ValidationError

import trivet
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictions
from trivet.online.direct import DirectRoute, Endpoint
from trivet.online.inference import Headers, Query
from trivet.online.live_model import Ready
from trivet.online.payloads import answer_columns, load_json, media_type
from trivet.online.problems import MEANINGS, PREDICTION_FAILURES, ProblemError, Responses
from trivet.online.schemas import JSON, reference, schemas_of, to_json
from trivet.online.service import Service
from trivet.rows.contract import Contract, Kind

#: The datatype of each kind of column; a request may declare another if its values fit.
DATATYPES: Mapping[Kind, str] = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "category": "BYTES",
    "timestamp": "BYTES",
}


class Tensor(BaseModel):
    """One column of values; null stands for a missing one."""

    name: str
    shape: list[Annotated[int, Field(ge=0, strict=True)]] = Field(
        fail_fast=True, description="[rows], or [rows, 1]."
    )
    datatype: str
    data: list[Any]


class Output(BaseModel):
    """A requested output."""

    name: str


class InferRequest(BaseModel):
    """A request for predictions; without ``outputs``, the answer has all of them."""

    id: str | None = None
    # As with a tensor's shape: a fault for each item would take far more memory than the body.
    inputs: list[Tensor] = Field(fail_fast=True)
    outputs: list[Output] | None = Field(default=None, fail_fast=True)


class InferResponse(BaseModel):
    """The answers: a tensor for each column."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Tensor]


#: How the body of an infer request is documented.
BODY = {JSON: {"schema": reference("InferRequest")}}


class V2Error(BaseModel):
    """What went wrong."""

    error: str


def add_to(service: Service) -> None:
    """Add the routes, and the protocol's form of errors."""

    async def server(request: Request) -> Response:
        """The server's name and version."""
        return _json({"name": "trivet", "version": trivet.__version__, "extensions": []})

    async def live(request: Request) -> Response:
        """200 while the process runs."""
        return _json({"live": True})

    async def ready(request: Request) -> Response:
        """As /health/ready."""
        service.require_open()
        return _json({"ready": True})

    async def metadata(request: Request) -> Response:
        """The model's inputs and outputs, a tensor for each column."""
        return _json(_metadata(_asked(service.live_model.require(), **request.path_params)))

    async def model_ready(request: Request) -> Response:
        """200 while the model can answer."""
        manifest = _asked(service.require_open(), **request.path_params)
        return _json({"name": manifest.name, "ready": True})

    async def infer(request: Request) -> Response:
        """Predictions are in the order of the rows."""
        return await service.inference.answer(request, partial(_parse, path=request.path_params))

    def get(path: str, endpoint: Endpoint, summary: str, *statuses: int) -> None:
        service.get(path, endpoint, summary=summary, responses=_failures(*statuses), **_about(path))

    get("/v2", server, "The server", 401, 503)
    get("/v2/health/live", live, "Is the process alive?")
    get("/v2/health/ready", ready, "Should requests be sent here?", 503)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        get(path, metadata, "The model's tensors", 401, 404, 503)
        get(f"{path}/ready", model_ready, "Is the model ready?", 401, 404, 503)
        about, failures = _about(path), _failures(404, *PREDICTION_FAILURES)
        about["openapi_extra"]["requestBody"] = {"required": True, "content": BODY}
        about |= {"response_model": InferResponse, "responses": failures, "summary": "Predict rows"}
        service.routes.append(DirectRoute(f"{path}/infer", infer, **about))
    service.open_paths |= {"/v2/health/live", "/v2/health/ready"}
    service.links["v2"] = "/v2"
    service.schemas |= schemas_of(InferRequest)
    service.problems.forms["v2"] = lambda problem: (to_json({"error": problem.detail}), JSON)


def _parse(headers: Headers, body: bytearray, ready: Ready, path: Mapping[str, str]) -> Query:
    """The query of an infer request; raises a 400 problem for what is none."""
    contract = _asked(ready, **path).contract
    if media_type(headers) != JSON:
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, not CSV")
    try:
        request = InferRequest.model_validate(load_json(body))
    except ValidationError as error:
        fault = error.errors()[0]
        raise _bad(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    known = _outputs(contract)
    wanted = list(dict.fromkeys(output.name for output in request.outputs or ()) or known)
    if unknown := [name for name in wanted if name not in known]:
        raise _bad(f"there is no output {unknown[0]!r}; choose from {', '.join(known)}")
    return Query(_records(request.inputs), partial(_answer, request.id, wanted))


def _records(tensors: list[Tensor]) -> Iterator[object]:
    columns: dict[str, list[Any]] = {}
    rows = {_rows(tensor) for tensor in tensors}
    if len(rows) != 1:
        raise _bad("inputs: send tensors of one length, one for each column")
    for tensor in tensors:
        if tensor.name in columns:
            raise _bad(f"inputs: {tensor.name!r} appears twice")
        nested = tensor.data and all(isinstance(each, list) for each in tensor.data)
        columns[tensor.name] = [*chain(*tensor.data)] if nested else tensor.data
        if len(columns[tensor.name]) not in rows:
            raise _bad(f"inputs: the shape of {tensor.name!r} is not that of its values")
    return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _rows(tensor: Tensor) -> int:
    match tensor.shape:
        case [rows] | [rows, 1]:
            return rows
    raise _bad(f"inputs: {tensor.name!r} has the shape {tensor.shape}; send [rows] or [rows, 1]")


def _answer(
    request_id: str | None, wanted: list[str], predictions: Predictions, manifest: Manifest
) -> bytes:
    rows, datatypes = [len(predictions.values)], _outputs(manifest.contract)
    columns = answer_columns(predictions, manifest.contract)
    outputs = [
        {"name": name, "shape": rows, "datatype": datatypes[name], "data": columns[name]}
        for name in wanted
    ]
    content = {"model_name": manifest.name, "model_version": manifest.version, "outputs": outputs}
    return to_json(content if request_id is None else {"id": request_id, **content})


def _metadata(manifest: Manifest) -> dict[str, Any]:
    def tensors(datatypes: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": of, "shape": [-1]} for name, of in datatypes.items()]

    inputs = {column.name: DATATYPES[column.kind] for column in manifest.contract.columns}
    about = {"name": manifest.name, "versions": [manifest.version], "platform": "trivet"}
    return about | {"inputs": tensors(inputs), "outputs": tensors(_outputs(manifest.contract))}


def _outputs(contract: Contract) -> dict[str, str]:
    """Datatypes of the outputs by name."""
    datatypes = dict.fromkeys(contract.target.answer_names, "FP64")
    if labels := contract.target.labels:
        datatypes["prediction"] = {bool: "BOOL", int: "INT64", str: "BYTES"}[type(labels[0])]
    return datatypes


def _asked(ready: Ready, model: str, version: str | None = None) -> Manifest:
    """The manifest of the live model, if that is the one that is asked for."""
    manifest = ready.manifest
    if model != manifest.name or version not in (None, manifest.version):
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            f"there is no {' '.join(filter(None, (model, version)))} here; this service answers "
            f"with {manifest.name} {manifest.version}",
        )
    return manifest


def _bad(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)


def _json(content: object) -> Response:
    return Response(to_json(content), media_type=JSON)


def _failures(*statuses: int) -> Responses:
    return {status: {"description": MEANINGS[status], "model": V2Error} for status in statuses}


def _about(path: str) -> dict[str, Any]:
    """The documentation that the routes share; the path's parameters are read from the request."""
    schema = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    return {"tags": ["Open Inference Protocol V2"], "openapi_extra": {"parameters": parameters}}
