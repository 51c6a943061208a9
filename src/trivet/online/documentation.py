"""The documentation page, and the OpenAPI document that it shows."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles

from trivet.online.negotiation import compressed, headers_of
from trivet.online.schemas import JSON, to_json
from trivet.online.service import Service

#: The page runs its own scripts and styles, some of them inline.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)
#: How a caller may bring a key.
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def add_documentation(app: FastAPI, service: Service) -> None:
    """Add the page with its assets, which come from this process: it works without internet."""
    service.links |= {"docs": "/docs", "openapi": "/openapi.json"}

    async def document(request: Request) -> Response:
        response = Response(
            to_json(_document(app, service, request.scope.get("root_path", ""))), media_type=JSON
        )
        return await compressed(response, headers_of(request.scope))

    async def docs() -> Response:
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

    service.get("/docs", docs, include_in_schema=False)
    service.get("/openapi.json", document, include_in_schema=False)
    assets = str(files("fastapi_swagger") / "resources")
    app.mount("/docs/assets", StaticFiles(directory=assets), name="assets")


def _document(app: FastAPI, service: Service, root_path: str) -> dict[str, Any]:
    """What FastAPI knows of the routes, and the schemas of the model that is loaded."""
    document = FastAPI.openapi(app)  # makes it once
    ready = service.live_model.ready
    unknown = {"type": "object", "description": "Known once ready."}
    of_contract = {
        name: make(ready.manifest.contract) if ready else unknown
        for name, make in service.contract_schemas.items()
    }
    schemas = of_contract | document["components"]["schemas"] | service.schemas
    components: dict[str, Any] = {"schemas": schemas}
    if service.keys:
        components["securitySchemes"] = SCHEMES
        for methods in document["paths"].values():
            for operation in methods.values():
                if "401" in operation["responses"]:
                    operation["security"] = [{name: []} for name in SCHEMES]
    servers = {"servers": [{"url": root_path}]} if root_path else {}
    return document | servers | {"components": components}
