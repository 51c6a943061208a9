"""The routes of the service."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from trivet.online.live_model import LiveModel, Ready
from trivet.online.payloads import answer, parse_records, require_json
from trivet.online.problems import MEDIA_TYPE, ProblemError
from trivet.online.schemas import Health, ModelResponse, PredictResponse

PROBLEM: dict[str, Any] = {
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
}
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "No model is loaded.", **PROBLEM}
}
BAD_REQUESTS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON.", **PROBLEM},
    415: {"description": "The body's media type is not JSON.", **PROBLEM},
    422: {"description": "The records break the contract; every fault is listed.", **PROBLEM},
    500: {"description": "The service failed; its log says why.", **PROBLEM},
}
LINKS = {
    "predict": "/predict",
    "model": "/model",
    "health": "/health",
    "live": "/health/live",
    "ready": "/health/ready",
    "docs": "/docs",
    "openapi": "/openapi.json",
}


def create_router(live_model: LiveModel) -> APIRouter:
    """All routes, over one live model."""
    router = APIRouter()

    @router.post(
        "/predict",
        response_model=PredictResponse,
        responses={**BAD_REQUESTS, **NOT_READY},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/PredictRequest"}}
                },
            }
        },
        summary="Predict one record or many",
    )
    async def predict(request: Request) -> Response:
        """Answers come in the order of the records, one a record."""
        ready = require_ready(live_model)
        require_json(request.headers)
        records = parse_records(await request.body(), ready.manifest.contract)
        # In a thread: a prediction of many rows must not hold up the health checks.
        body = await run_in_threadpool(_predict, ready, records)
        return Response(body, media_type="application/json")

    @router.head("/health/live", include_in_schema=False)  # some probes ask by HEAD
    @router.get("/health/live", summary="Is the process alive?")
    async def live() -> Health:
        """200 while the process runs."""
        return Health(status="alive")

    @router.head("/health/ready", include_in_schema=False)
    @router.head("/health", include_in_schema=False)
    @router.get("/health/ready", responses=NOT_READY, summary="Can it answer?")
    @router.get("/health", responses=NOT_READY, summary="The same as /health/ready")
    async def ready() -> Health:
        """200 once a model is loaded and its golden rows gave the golden answers."""
        require_ready(live_model)
        return Health(status="ready")

    @router.head("/model", include_in_schema=False)
    @router.get(
        "/model",
        response_model=ModelResponse,
        responses={304: {"description": "Not modified."}, **NOT_READY},
        summary="The model that answers",
    )
    async def model(request: Request) -> Response:
        """Name, version, contract and metrics; the ETag changes with the version."""
        manifest = require_ready(live_model).manifest
        headers = {"ETag": f'"{manifest.name}/{manifest.version}"', "Cache-Control": "no-cache"}
        if {headers["ETag"], "*"} & _etags(request.headers.get("if-none-match", "")):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        body = ModelResponse(
            name=manifest.name,
            version=manifest.version,
            created=manifest.created.isoformat(),
            task=manifest.contract.target.task,
            contract=manifest.contract,
            metrics=manifest.metrics,
            baseline=manifest.baseline,
        )
        return Response(body.model_dump_json(), headers=headers, media_type="application/json")

    @router.head("/", include_in_schema=False)
    @router.get("/", summary="What there is")
    async def index() -> dict[str, str]:
        """Links to everything else."""
        return LINKS

    return router


def require_ready(live_model: LiveModel) -> Ready:
    """The model, once it can answer; until then a 503 problem with the reason."""
    if live_model.ready is None:
        headers = {"Retry-After": "1"} if live_model.loading else None
        detail = f"not ready: {live_model.reason}"
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers)
    return live_model.ready


def _predict(ready: Ready, records: list[object]) -> bytes:
    return answer(ready.predictor.predict_records(records), ready.manifest)


def _etags(header: str) -> set[str]:
    """The tags of an If-None-Match header, weak ones as strong."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
