"""The documentation page, and the OpenAPI document that it shows."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from trivet.online.service import Service

#: The page runs its own scripts and styles, some of them inline.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)


def add_documentation(app: FastAPI, service: Service) -> None:
    """Add the page with its assets, which come from this process: it works without internet."""
    service.links |= {"docs": "/docs", "openapi": "/openapi.json"}
    app.openapi = lambda: _document(app, service)  # type: ignore[method-assign]

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 2},
        )
        page.headers["Content-Security-Policy"] = POLICY
        return page

    assets = str(files("fastapi_swagger") / "resources")
    app.mount("/docs/assets", StaticFiles(directory=assets), name="assets")


def _document(app: FastAPI, service: Service) -> dict[str, Any]:
    """What FastAPI knows of the routes, and the schemas of the model that is loaded."""
    document = FastAPI.openapi(app)  # makes it once
    ready = service.live_model.ready
    unknown = {"type": "object", "description": "Known once ready."}
    of_contract = {
        name: make(ready.manifest.contract) if ready else unknown
        for name, make in service.contract_schemas.items()
    }
    schemas = of_contract | document["components"]["schemas"] | service.schemas
    return document | {"components": {"schemas": schemas}}
