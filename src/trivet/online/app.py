"""The application: routes, problems and documentation over one live model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

import trivet
from trivet.online import problems
from trivet.online.live_model import LiveModel, ServeSettings
from trivet.online.routes import create_router
from trivet.online.schemas import Problem, request_schemas


def create_app(settings: ServeSettings) -> FastAPI:
    """The service for one model. It is live at once, and ready when the model is loaded."""
    live_model = LiveModel(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(asyncio.to_thread(live_model.load))
        yield
        await loading

    app = FastAPI(
        title=f"Trivet: {settings.model}",
        version=trivet.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    app.include_router(create_router(live_model))
    _serve_docs(app)
    app.openapi = lambda: _openapi(app, live_model)  # type: ignore[method-assign]
    return app


def _serve_docs(app: FastAPI) -> None:
    """The documentation page with its assets from this process: it works without internet."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 2},
        )

    assets = str(files("fastapi_swagger") / "resources")
    app.mount("/docs/assets", StaticFiles(directory=assets), name="assets")


def _openapi(app: FastAPI, live_model: LiveModel) -> dict[str, Any]:
    """The routes' schema, with the request's fields from the contract of the loaded model."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    shared = {**problem.pop("$defs"), "Problem": problem}
    if live_model.ready is None:
        requests = {"PredictRequest": {"type": "object", "description": "Known once ready."}}
    else:
        requests = request_schemas(live_model.ready.manifest.contract)
    document["components"]["schemas"] = requests | document["components"]["schemas"] | shared
    return document
