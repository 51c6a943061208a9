"""Every error that the service answers with, in one form: RFC 9457 problem details."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from trivet.errors import Fault, RecordsRejected
from trivet.online.schemas import JSON, Problem, to_json

MEDIA_TYPE = "application/problem+json"

#: Names of RFC 9110 that older Pythons have under an earlier name.
TITLES = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
}


class ProblemError(Exception):
    """Ends a request with a problem: a status and what to do about it."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def install(app: FastAPI) -> None:
    """Make the app answer every error with a problem."""

    async def on_error(request: Request, error: Exception) -> Response:
        return problem(request.scope["path"], request.method, error)

    for kind in (ProblemError, RecordsRejected, HTTPException, Exception):
        app.add_exception_handler(kind, on_error)


def problem(path: str, method: str, error: Exception) -> Response:
    """The answer to a request that failed; nothing of an unexpected error is told."""
    faults: tuple[Fault, ...] | None = None
    headers: dict[str, str] | None = None
    match error:
        case ProblemError():
            status, detail, headers = error.status, error.detail, error.headers
        case RecordsRejected(faults=faults):
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
            detail = f"{count} in the request: {faults[0]}"
        case HTTPException():
            status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
            details = {
                HTTPStatus.NOT_FOUND: f"there is no {path}; GET / lists what there is",
                HTTPStatus.METHOD_NOT_ALLOWED: f"{path} does not take {method}",
            }
            detail = details.get(status, str(error.detail))
        case _:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            detail = "the service failed; its log says why"
    if path == "/v2" or path.startswith("/v2/"):  # that protocol has a form of its own for errors
        return Response(to_json({"error": detail}), status.value, headers, media_type=JSON)
    body = Problem(
        title=TITLES.get(status, status.phrase), status=status.value, detail=detail, errors=faults
    )
    content = to_json(body.model_dump(exclude_none=True))
    return Response(content, status.value, headers, media_type=MEDIA_TYPE)
