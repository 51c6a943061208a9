"""Every error that the service answers with, in one form: RFC 9457 problem details."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from trivet.errors import Fault, RecordsRejected
from trivet.online.schemas import Problem, to_json

MEDIA_TYPE = "application/problem+json"

#: Names of RFC 9110 that older Pythons have under an earlier name.
TITLES = {HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content"}


class ProblemError(Exception):
    """Ends a request with a problem: a status and what to do about it."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def install(app: FastAPI) -> None:
    """Make the app answer every error with a problem."""

    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, error: ProblemError) -> Response:
        return problem(error.status, error.detail, headers=error.headers)

    @app.exception_handler(RecordsRejected)
    async def on_rejected(request: Request, error: RecordsRejected) -> Response:
        count = len(error.faults)
        detail = f"{count} fault{'s' if count > 1 else ''} in the request: {error.faults[0]}"
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, error.faults)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        details = {
            HTTPStatus.NOT_FOUND: f"there is no {request.url.path}; GET / lists what there is",
            HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path} does not take {request.method}",
        }
        detail = details.get(status, str(error.detail))
        return problem(status, detail, headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def on_unexpected(request: Request, error: Exception) -> Response:
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log says why")


def problem(
    status: HTTPStatus,
    detail: str,
    faults: tuple[Fault, ...] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A response that carries a problem."""
    body = Problem(
        title=TITLES.get(status, status.phrase), status=status.value, detail=detail, errors=faults
    )
    content = to_json(body.model_dump(exclude_none=True))
    return Response(content, status.value, headers, media_type=MEDIA_TYPE)
