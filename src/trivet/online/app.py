"""The application: routes, problems and documentation over one live model, behind one gate."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from multiprocessing import parent_process
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

import trivet
from trivet.cpus import worker_count
from trivet.online import logs, problems
from trivet.online.direct import DirectRoute
from trivet.online.gate import Gate
from trivet.online.inference import Inference
from trivet.online.live_model import LiveModel
from trivet.online.metrics import Metrics
from trivet.online.protocols.v2 import InferRequest, V2Error, add_v2_routes
from trivet.online.routes import create_router, prediction_routes
from trivet.online.schemas import Problem, request_schemas
from trivet.online.settings import ServeSettings

logger = logging.getLogger("trivet.online")

#: What a platform asks to know whether to send requests here: no key is needed.
OPEN_PATHS = frozenset(
    ("/health", "/health/live", "/health/ready", "/ping", "/v2/health/live", "/v2/health/ready")
)
#: The documentation page runs its own scripts and styles, some of them inline.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def create_app(settings: ServeSettings) -> ASGIApp:
    """The service for one model: it answers as soon as that is loaded, or is found not to load."""
    metrics = Metrics()
    live_model = LiveModel(settings, metrics)
    inference = Inference(live_model, settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        _drain_first(live_model, settings.drain)
        # Before anything is accepted: of several workers, one without a model leaves it to others.
        await live_model.catch_up()
        while not (live_model.ready or worker_count(settings.workers) == 1 or live_model.draining):
            await asyncio.sleep(settings.reload_every or 1)
            await live_model.catch_up()
        tasks = [
            _in_background(live_model.follow()),
            _in_background(metrics.count_regularly()),
            _in_background(gate.deadlines.watch()),
            _in_background(_follow_parent()),
        ]
        yield
        for task in tasks:
            task.cancel()
        metrics.count()
        logs.flush()

    app = FastAPI(
        title=f"Trivet: {settings.model}",
        version=trivet.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    predict_paths = dict.fromkeys(filter(None, ("/predict", settings.predict_route)))
    health_paths = [settings.health_route] if settings.health_route else []
    app.router.routes += prediction_routes(inference, predict_paths)
    app.include_router(create_router(live_model, metrics, health_paths))
    add_v2_routes(app, live_model, inference)
    _serve_docs(app)
    app.openapi = lambda: _openapi(app, live_model)  # type: ignore[method-assign]
    direct = {
        route.path: route.app
        for route in app.routes
        if isinstance(route, DirectRoute) and "{" not in route.path
    }
    gate = Gate(app, direct, OPEN_PATHS.union(health_paths), settings, live_model, metrics)
    return gate


def _serve_docs(app: FastAPI) -> None:
    """The documentation page with its assets from this process: it works without internet."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 2},
        )
        page.headers["Content-Security-Policy"] = DOCS_POLICY
        return page

    assets = str(files("fastapi_swagger") / "resources")
    app.mount("/docs/assets", StaticFiles(directory=assets), name="assets")


def _openapi(app: FastAPI, live_model: LiveModel) -> dict[str, Any]:
    """The routes' schema, with the request's fields from the contract of the loaded model."""
    document = FastAPI.openapi(app)  # made once
    if live_model.ready is None:
        unknown = {"type": "object", "description": "Known once ready."}
        requests = {"PredictRequest": unknown, "Invocation": unknown}
    else:
        requests = request_schemas(live_model.ready.manifest.contract)
    schemas = requests | document["components"]["schemas"] | _shared_schemas()
    return document | {"components": {"schemas": schemas}}


@cache
def _shared_schemas() -> dict[str, Any]:
    """The schemas that routes name in their documentation, and FastAPI does not know of."""
    shared: dict[str, Any] = {}
    for model in (Problem, InferRequest, V2Error):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        shared |= {**schema.pop("$defs", {}), model.__name__: schema}
    return shared


async def _follow_parent() -> None:
    """Stop as on SIGTERM once the process that started this worker was killed and told nobody."""
    if parent := parent_process():
        while parent.is_alive():
            await asyncio.sleep(1)
        signal.raise_signal(signal.SIGTERM)


def _in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that logs at once what ends it: nobody waits for it."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report_failure)
    return task


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.critical("work in the background failed; restart the service", exc_info=error)


def _drain_first(live_model: LiveModel, seconds: float) -> None:
    """On SIGTERM, go on answering for this long, but no longer be ready; only then stop.

    So a load balancer sees that it should send nobody here while those it has sent are answered.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # not the process of a service: a test's client
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop):
        return
    loop = asyncio.get_running_loop()

    def drain() -> None:
        live_model.draining = True
        loop.call_later(seconds, stop, signal.SIGTERM, None)

    loop.add_signal_handler(signal.SIGTERM, drain)
