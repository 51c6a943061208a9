"""The Open Inference Protocol, version 2: a named tensor for each column, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Request, Response

import trivet
from trivet.model.artifact import Manifest
from trivet.online.by_name import about, asked, error_text, failures, json_response
from trivet.online.direct import DirectRoute, Endpoint
from trivet.online.problems import PREDICTION_FAILURES
from trivet.online.protocols.v2.infer import (
    OCTETS,
    InferRequest,
    InferResponse,
    outputs_of,
    parse_infer,
)
from trivet.online.schemas import JSON, reference, schemas_of
from trivet.online.service import Service
from trivet.rows.contract import Kind

TAG = "Open Inference Protocol V2"
#: The datatype of each kind of column; a request may declare another.
OF_KIND: Mapping[Kind, str] = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "category": "BYTES",
    "timestamp": "BYTES",
}
#: How a body with binary data, and the body of an infer request, are documented.
BINARY = {OCTETS: {"schema": {"type": "string", "format": "binary"}}}
BODY = {JSON: {"schema": reference("InferRequest")}, **BINARY}


def add_to(service: Service) -> None:
    """Add the routes, and the protocol's form of errors."""

    async def server(request: Request) -> Response:
        """The server's name and version."""
        about_server = {"name": "trivet", "version": trivet.__version__}
        return json_response(about_server | {"extensions": ["binary_tensor_data"]})

    async def live(request: Request) -> Response:
        """200 while the process runs."""
        return json_response({"live": True})

    async def ready(request: Request) -> Response:
        """As /health/ready."""
        service.require_open()
        return json_response({"ready": True})

    async def metadata(request: Request) -> Response:
        """The model's inputs and outputs, a tensor for each column."""
        manifest = asked(service.live_model.require(), **request.path_params)
        return json_response(_metadata(manifest))

    async def model_ready(request: Request) -> Response:
        """200 while the model can answer."""
        manifest = asked(service.require_open(), **request.path_params)
        return json_response({"name": manifest.name, "ready": True})

    async def infer(request: Request) -> Response:
        """Predictions are in the order of the rows."""
        parse = partial(parse_infer, path=request.path_params)
        return await service.inference.answer(request, parse)

    def get(path: str, endpoint: Endpoint, summary: str, *statuses: int) -> None:
        documentation = about(path, TAG) | {"summary": summary, "responses": failures(*statuses)}
        service.get(path, endpoint, **documentation)

    get("/v2", server, "The server", 401)
    get("/v2/health/live", live, "Is the process alive?")
    get("/v2/health/ready", ready, "Should requests be sent here?", 503)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        get(path, metadata, "The model's tensors", 401, 404, 503)
        get(f"{path}/ready", model_ready, "Is the model ready?", 401, 404, 503)
        documentation = about(path, TAG) | {"summary": "Predict rows"}
        documentation["openapi_extra"]["requestBody"] = {"required": True, "content": BODY}
        documentation["responses"] = failures(404, *PREDICTION_FAILURES) | {
            200: {"content": BINARY}
        }
        documentation["response_model"] = InferResponse
        service.routes.append(DirectRoute(f"{path}/infer", infer, **documentation))
    service.open_paths |= {"/v2/health/live", "/v2/health/ready"}
    service.links["v2"] = "/v2"
    service.schemas |= schemas_of(InferRequest)
    service.problems.forms["/v2/"] = error_text


def _metadata(manifest: Manifest) -> dict[str, Any]:
    def tensors(datatypes: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": of, "shape": [-1]} for name, of in datatypes.items()]

    inputs = {column.name: OF_KIND[column.kind] for column in manifest.contract.columns}
    about_model = {"name": manifest.name, "versions": [manifest.version], "platform": "trivet"}
    outputs = outputs_of(manifest.contract)
    return about_model | {"inputs": tensors(inputs), "outputs": tensors(outputs)}
