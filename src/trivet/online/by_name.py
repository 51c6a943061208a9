"""What the protocols of KServe share: paths that name the model, and errors of one text."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from trivet.model.artifact import Manifest
from trivet.online.live_model import Ready
from trivet.online.problems import MEANINGS, ProblemError, Responses
from trivet.online.schemas import JSON, Problem, to_json


class ErrorText(BaseModel):
    """What went wrong."""

    error: str


def asked(ready: Ready, model: str, version: str | None = None) -> Manifest:
    """The manifest of the live model, if that is the one that is asked for."""
    manifest = ready.manifest
    if model != manifest.name or version not in (None, manifest.version):
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            f"there is no {' '.join(filter(None, (model, version)))} here; this service answers "
            f"with {manifest.name} {manifest.version}",
        )
    return manifest


def error_text(problem: Problem) -> tuple[bytes, str]:
    """The form of errors: one text, which lists all faults."""
    others = map(str, (problem.errors or ())[1:])
    return to_json({"error": "; ".join([problem.detail, *others])}), JSON


def failures(*statuses: int) -> Responses:
    """The documentation of these statuses."""
    return {status: {"description": MEANINGS[status], "model": ErrorText} for status in statuses}


def about(path: str, protocol: str) -> dict[str, Any]:
    """The documentation that the routes share; the path's parameters are read from the request."""
    schema = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    return {"tags": [protocol], "openapi_extra": {"parameters": parameters}}


def json_response(content: object) -> Response:
    """A 200 with JSON."""
    return Response(to_json(content), media_type=JSON)
