"""KServe's protocol, version 1: instances in, predictions out."""

from __future__ import annotations

from trivet.online.by_name import asked, error_text, get_at, predict_at, require_json
from trivet.online.inference import Query
from trivet.online.live_model import Ready
from trivet.online.negotiation import Headers
from trivet.online.payloads import labels_alone, load_json, records_of
from trivet.online.schemas import JSON, LabelsResponse, Schema, predict_request, record, reference
from trivet.online.service import Service
from trivet.rows.contract import Contract

TAG, MODELS = "KServe V1", "/v1/models"


def add_to(service: Service) -> None:
    """Add the routes, and the protocol's form of errors."""

    def models() -> object:
        """The one model that answers."""
        return {"models": [service.live_model.require().manifest.name]}

    def ready(model: str) -> object:
        """200 while the model can answer."""
        return {"name": asked(service.require_open(), model).name, "ready": True}

    # First, because the path below matches it, too.
    path, content = f"{MODELS}/{{model}}:predict", {JSON: {"schema": reference("Instances")}}
    predict_at(service, TAG, path, parse_instances, content, LabelsResponse)
    get_at(service, TAG, MODELS, models, 401, 503)
    get_at(service, TAG, f"{MODELS}/{{model}}", ready, 401, 404, 503)
    service.contract_schemas["Instances"] = instances
    service.links["v1"] = MODELS
    service.problems.forms[f"{MODELS}/"] = error_text


def instances(contract: Contract) -> Schema:
    """The schema of a body: that of /predict, but a record may be a list of its values."""
    values = record(contract)["properties"]
    features = [values[name] for name in contract.feature_names]
    size = {"minItems": len(features), "maxItems": len(features)}
    values_alone = {"type": "array", "prefixItems": features, **size}
    request = predict_request(contract)
    request["anyOf"][0]["properties"]["instances"]["items"] = {
        "anyOf": [reference("Record"), values_alone]
    }
    return request | {"title": "Instances"}


def parse_instances(headers: Headers, body: bytearray, ready: Ready, model: str) -> Query:
    """Predict instances.

    Each is a record, or a list of the features' values in their order.
    """
    contract = asked(ready, model).contract
    names = contract.feature_names
    require_json(headers)
    records = (
        dict(zip(names, each, strict=True))
        if isinstance(each, list) and len(each) == len(names)
        else each
        for each in records_of(load_json(body), contract)
    )
    return Query(records, labels_alone)
