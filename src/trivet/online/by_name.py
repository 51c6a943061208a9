"""What the protocols of KServe share: paths that name the model, JSON alone, errors of one text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from trivet.model.artifact import Manifest
from trivet.online.direct import DirectRoute
from trivet.online.inference import Query
from trivet.online.live_model import Ready
from trivet.online.negotiation import Headers
from trivet.online.payloads import media_type
from trivet.online.problems import MEANINGS, PREDICTION_FAILURES, ProblemError, Responses
from trivet.online.schemas import JSON, Problem, Schema, to_json
from trivet.online.service import Service


class ErrorText(BaseModel):
    """What went wrong."""

    error: str


def get_at(
    service: Service, tag: str, path: str, content: Callable[..., object], *statuses: int
) -> None:
    """Answer GET at a path with JSON: what ``content`` makes of the path's parameters."""

    async def get(request: Request) -> Response:
        return Response(to_json(content(**request.path_params)), media_type=JSON)

    service.get(path, get, responses=_failures(*statuses), **_about(tag, path, content))


def predict_at(
    service: Service,
    tag: str,
    path: str,
    parse: Callable[..., Query],
    content: Schema,
    response_model: type[BaseModel],
    responses: Responses | None = None,
) -> None:
    """Answer POST at a path with predictions; ``parse`` is given the path's parameters, too."""

    async def predict(request: Request) -> Response:
        return await service.inference.answer(request, partial(parse, **request.path_params))

    documentation = _about(tag, path, parse) | {"response_model": response_model}
    documentation["openapi_extra"]["requestBody"] = {"required": True, "content": content}
    documentation["responses"] = _failures(404, *PREDICTION_FAILURES) | (responses or {})
    service.routes.append(DirectRoute(path, predict, **documentation))


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


def require_json(headers: Headers) -> None:
    """Raise a 415 problem if the body is something else."""
    if media_type(headers) != JSON:
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, not CSV")


def error_text(problem: Problem) -> tuple[bytes, str]:
    """The form of errors: one text, which lists all faults."""
    others = map(str, (problem.errors or ())[1:])
    return to_json({"error": "; ".join([problem.detail, *others])}), JSON


def _failures(*statuses: int) -> Responses:
    return {status: {"description": MEANINGS[status], "model": ErrorText} for status in statuses}


def _about(tag: str, path: str, answers: Callable[..., object]) -> dict[str, Any]:
    """The documentation of a path: of its parameters, and by the docstring of what answers."""
    schema = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    summary, _, description = (answers.__doc__ or "").partition("\n\n")
    texts = {"summary": summary.rstrip("."), "description": description.strip()}
    return {"tags": [tag], "openapi_extra": {"parameters": parameters}, **texts}
