"""The Open Inference Protocol, version 2: a named tensor for each column, in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trivet
from trivet.model.artifact import Manifest
from trivet.online.by_name import asked, error_text, get_at, predict_at
from trivet.online.problems import Responses
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
DATATYPES: Mapping[Kind, str] = {
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

    def server() -> object:
        """The server's name and version."""
        about = {"name": "trivet", "version": trivet.__version__}
        return about | {"extensions": ["binary_tensor_data"]}

    def live() -> object:
        """200 while the process runs."""
        return {"live": True}

    def ready() -> object:
        """As /health/ready."""
        service.require_open()
        return {"ready": True}

    def metadata(model: str, version: str | None = None) -> object:
        """The model's inputs and outputs, a tensor for each column."""
        return _metadata(asked(service.live_model.require(), model, version))

    def model_ready(model: str, version: str | None = None) -> object:
        """200 while the model can answer."""
        return {"name": asked(service.require_open(), model, version).name, "ready": True}

    get_at(service, TAG, "/v2", server, 401, 503)
    get_at(service, TAG, "/v2/health/live", live)
    get_at(service, TAG, "/v2/health/ready", ready, 503)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        get_at(service, TAG, path, metadata, 401, 404, 503)
        get_at(service, TAG, f"{path}/ready", model_ready, 401, 404, 503)
        binary: Responses = {200: {"content": BINARY}}
        predict_at(service, TAG, f"{path}/infer", parse_infer, BODY, InferResponse, binary)
    service.open_paths |= {"/v2/health/live", "/v2/health/ready"}
    service.links["v2"] = "/v2"
    service.schemas |= schemas_of(InferRequest)
    service.problems.forms["/v2/"] = error_text


def _metadata(manifest: Manifest) -> dict[str, Any]:
    def tensors(datatypes: Mapping[str, str]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": of, "shape": [-1]} for name, of in datatypes.items()]

    inputs = {column.name: DATATYPES[column.kind] for column in manifest.contract.columns}
    about = {"name": manifest.name, "versions": [manifest.version], "platform": "trivet"}
    return about | {"inputs": tensors(inputs), "outputs": tensors(outputs_of(manifest.contract))}
