"""The routes of the service's own protocol."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from trivet.online import schemas
from trivet.online.negotiation import compressed, headers_of
from trivet.online.problems import failures
from trivet.online.schemas import JSON, Health, ModelResponse, Problem, schemas_of
from trivet.online.service import Service


def add_routes(service: Service) -> None:
    """Add predictions, health, the model, metrics and the index."""
    settings, live_model = service.settings, service.live_model
    service.predict_at("/predict")
    if settings.predict_route:
        service.predict_at(settings.predict_route)

    async def live() -> Health:
        """200 while the process runs."""
        return Health(status="alive")

    async def model(request: Request) -> Response:
        """Name, version, contract and metrics; the ETag changes with the version."""
        manifest = live_model.require().manifest
        etag = f'"{manifest.name}/{manifest.version}{"!" if live_model.reason else ""}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if {etag, "*"} & _etags(request.headers.get("if-none-match", "")):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        body = ModelResponse(
            name=manifest.name,
            version=manifest.version,
            created=manifest.created.isoformat(),
            task=manifest.contract.target.task,
            compiled=manifest.not_compiled is None,
            not_reloaded=live_model.reason,
            contract=manifest.contract,
            metrics=manifest.metrics,
            baseline=manifest.baseline,
        )
        return Response(body.model_dump_json(), headers=headers, media_type=JSON)

    async def prometheus(request: Request) -> Response:
        """The metrics of all workers, in Prometheus' text format."""
        page = Response(service.metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})
        return await compressed(page, headers_of(request.scope))

    async def index(request: Request) -> dict[str, str]:
        """Paths by name."""
        root = request.scope.get("root_path", "")
        return {name: f"{root}{path}" for name, path in service.links.items()}

    service.open_paths.add("/health/live")
    service.get("/health/live", live, summary="Is the process alive?")
    service.ready_at("/health", "The same as /health/ready")
    service.ready_at("/health/ready", "Should requests be sent here?")
    if settings.health_route:
        service.ready_at(settings.health_route)
    about: dict[str, Any] = {"summary": "The model that answers", "response_model": ModelResponse}
    about["responses"] = {304: {"description": "Not modified."}, **failures(401, 503)}
    service.get("/model", model, **about)
    about = {"summary": "Metrics", "response_class": Response, "responses": failures(401)}
    service.get("/metrics", prometheus, **about)
    service.get("/", index, summary="Links to everything else", responses=failures(401, 503))
    paths = ("/predict", "/model", "/health", "/health/live", "/health/ready", "/metrics")
    service.links |= {path.rpartition("/")[2]: path for path in paths}
    service.schemas |= schemas_of(Problem)
    service.contract_schemas["Record"] = schemas.record
    service.contract_schemas["PredictRequest"] = schemas.predict_request


def _etags(header: str) -> set[str]:
    """The tags of an If-None-Match header; weak ones count as strong."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
