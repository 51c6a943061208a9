"""Every error that the service answers with, in one form: RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from trivet.errors import Fault, RecordsRejected, shortened
from trivet.online.schemas import Problem, reference, to_json

MEDIA_TYPE = "application/problem+json"
#: The most characters of a problem's detail, which may repeat what a caller sent.
LONGEST = 1000
#: Names of RFC 9110 that older Pythons have under an earlier name.
TITLES = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
}
#: What each status means, for the documentation.
MEANINGS = {
    400: "The body can't be read.",
    401: "The service requires a key, and the request has none that it knows.",
    404: "This service has no such model or version.",
    406: "The answer has none of the media types in Accept.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many records.",
    415: "The service does not read bodies of this media type, or so encoded.",
    422: "The records break the contract; up to 100 faults are listed.",
    500: "The service failed; its log says why.",
    503: "No model is loaded, too much is in flight, a process died, or the service is stopping.",
    504: "The answer took too long.",
}
#: The statuses of a request for predictions that failed.
PREDICTION_FAILURES = (400, 401, 408, 413, 415, 422, 500, 503, 504)

Responses = dict[int | str, dict[str, Any]]
#: Writes a problem: the body and its media type.
Form = Callable[[Problem], tuple[bytes, str]]


class ProblemError(Exception):
    """Ends a request with a problem: a status and what to do about it.

    ``reason`` is that of `trivet_rejected_total`, for a request that is beyond a limit.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        headers: dict[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.reason = status, detail, headers, reason

    def __reduce__(self) -> tuple[type[ProblemError], tuple[object, ...]]:
        return type(self), (self.status, self.detail, self.headers, self.reason)


class Problems:
    """Turns errors into answers; ``forms`` are protocols' own, by how paths begin."""

    def __init__(self) -> None:
        self.forms: dict[str, Form] = {}

    def install(self, app: FastAPI) -> None:
        """Make the app answer every error with a problem."""

        async def on_error(request: Request, error: Exception) -> Response:
            return self.answer(path_of(request.scope), request.method, error)

        for kind in (ProblemError, RecordsRejected, HTTPException, Exception):
            app.add_exception_handler(kind, on_error)

    def answer(self, path: str, method: str, error: Exception) -> Response:
        """The answer to a request that failed; reveals nothing of an unexpected error."""
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
                if allow := headers.get("Allow"):  # from a set: in another order in each process
                    headers["Allow"] = ", ".join(sorted(allow.split(", ")))
                details = {
                    HTTPStatus.NOT_FOUND: f"there is no {shortened(path)}; GET / lists the routes",
                    HTTPStatus.METHOD_NOT_ALLOWED: f"{shortened(path)} does not take {method}",
                }
                detail = details.get(status, str(error.detail))
            case _:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                detail = "the service failed; its log says why"
        title = TITLES.get(status, status.phrase)
        detail = shortened(detail, LONGEST)
        problem = Problem(title=title, status=status.value, detail=detail, errors=faults)
        own = (form for start, form in self.forms.items() if f"{path}/".startswith(start))
        content, media_type = next(own, problem_details)(problem)
        return Response(content, status.value, headers, media_type=media_type)


def path_of(scope: Scope) -> str:
    """The path of a request within the service, which may be mounted, or behind a proxy."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def problem_details(problem: Problem) -> tuple[bytes, str]:
    """The form of RFC 9457."""
    return to_json(problem.model_dump(exclude_none=True)), MEDIA_TYPE


def failures(*statuses: int) -> Responses:
    """The documentation of these statuses."""
    content = {MEDIA_TYPE: {"schema": reference("Problem")}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}
