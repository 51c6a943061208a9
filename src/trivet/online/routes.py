"""The routes of the service that answer in its own words."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from trivet.online.direct import OF_PREDICTIONS, DirectRoute, Endpoint, failures
from trivet.online.inference import Inference
from trivet.online.live_model import LiveModel
from trivet.online.metrics import Metrics
from trivet.online.payloads import parse_predict
from trivet.online.protocols.invocations import parse_invocation
from trivet.online.schemas import CSV, JSON, Health, LabelsResponse, ModelResponse, PredictResponse

LINKS = {
    "predict": "/predict",
    "model": "/model",
    "health": "/health",
    "live": "/health/live",
    "ready": "/health/ready",
    "metrics": "/metrics",
    "v2": "/v2",
    "docs": "/docs",
    "openapi": "/openapi.json",
}


def prediction_routes(inference: Inference, predict_paths: Iterable[str]) -> list[DirectRoute]:
    """The routes of predictions: /predict, wherever else it is asked for, and /invocations."""

    async def predict(request: Request) -> Response:
        """Answers come in the order of the records, one a record."""
        return await inference.answer(request, parse_predict)

    async def invocations(request: Request) -> Response:
        """As SageMaker and MLflow ask: CSV is answered in CSV, MLflow's forms with labels alone."""
        return await inference.answer(request, parse_invocation)

    def route(
        path: str, endpoint: Endpoint, summary: str, schema: str, answer: object = PredictResponse
    ) -> DirectRoute:
        body = {
            JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}},
            CSV: {"schema": {"type": "string"}},
        }
        return DirectRoute(
            path,
            endpoint,
            response_model=answer,
            responses={
                200: {"content": {CSV: {"schema": {"type": "string"}}}},
                **failures(*OF_PREDICTIONS),
            },
            openapi_extra={"requestBody": {"required": True, "content": body}},
            summary=summary,
        )

    predicts = "Predict one record or many"
    return [
        *(route(path, predict, predicts, "PredictRequest") for path in predict_paths),
        route(
            "/invocations",
            invocations,
            "Predict, for SageMaker and MLflow",
            "Invocation",
            PredictResponse | LabelsResponse,
        ),
    ]


def create_router(
    live_model: LiveModel, metrics: Metrics, health_paths: Iterable[str]
) -> APIRouter:
    """The routes that are asked by GET; ``health_paths`` are as /health/ready."""
    router = APIRouter()

    @router.head("/health/live", include_in_schema=False)  # some probes ask by HEAD
    @router.get("/health/live", summary="Is the process alive?")
    async def live() -> Health:
        """200 while the process runs."""
        return Health(status="alive")

    @router.head("/health/ready", include_in_schema=False)
    @router.head("/health", include_in_schema=False)
    @router.head("/ping", include_in_schema=False)
    @router.get("/ping", responses=failures(503), summary="The same, for SageMaker")
    @router.get("/health/ready", responses=failures(503), summary="Should requests be sent here?")
    @router.get("/health", responses=failures(503), summary="The same as /health/ready")
    async def ready() -> Health:
        """200 once a model is loaded and proven, until the service is told to stop."""
        live_model.require_open()
        return Health(status="ready")

    for path in health_paths:
        router.add_api_route(path, ready, methods=["GET", "HEAD"], include_in_schema=False)

    @router.head("/model", include_in_schema=False)
    @router.get(
        "/model",
        response_model=ModelResponse,
        responses={304: {"description": "Not modified."}, **failures(401, 503)},
        summary="The model that answers",
    )
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

    @router.get("/metrics", response_class=Response, responses=failures(401), summary="Metrics")
    async def prometheus() -> Response:
        """The counts of all workers, in Prometheus' text format."""
        return Response(metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.head("/", include_in_schema=False)
    @router.get("/", responses=failures(401), summary="What there is")
    async def index() -> dict[str, str]:
        """Links to everything else."""
        return LINKS

    return router


def _etags(header: str) -> set[str]:
    """The tags of an If-None-Match header, weak ones as strong."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
