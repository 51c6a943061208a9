"""The service of one model: what its routes share, and where they and the protocols are added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute

from trivet.online.deadlines import Deadlines
from trivet.online.direct import Dialect, prediction_route
from trivet.online.drain import Drain
from trivet.online.exchange import Journal
from trivet.online.inference import Inference
from trivet.online.keys import Keys
from trivet.online.live_model import LiveModel, Ready, unavailable
from trivet.online.metrics import Metrics
from trivet.online.problems import Problems, failures
from trivet.online.schemas import Health, Schema
from trivet.online.settings import ServeSettings
from trivet.rows.contract import Contract


class Service:
    """What answers the requests, and all that a protocol may add to.

    ``routes`` are FastAPI's. ``open_paths`` need no key, and are answered under overload, too.
    ``links`` are shown by GET /. ``schemas`` are those that the routes' documentation refers to;
    ``contract_schemas`` are made from the contract once there is a model. ``problems.forms`` are
    the forms of errors.
    """

    def __init__(self, settings: ServeSettings, keys: Keys) -> None:
        self.settings, self.keys, self.metrics = settings, keys, Metrics()
        self.live_model = LiveModel(settings, self.metrics)
        self.inference = Inference(self.live_model, settings, self.metrics)
        self.deadlines, self.drain = Deadlines(settings.deadline), Drain(settings.drain)
        self.problems, self.journal = Problems(), Journal(settings.access_log, self.metrics)
        self.routes: list[APIRoute] = []
        self.open_paths: set[str] = set()
        self.links: dict[str, str] = {}
        self.schemas: dict[str, Schema] = {}
        self.contract_schemas: dict[str, Callable[[Contract], Schema]] = {}
        self._dialects: dict[str, list[Dialect]] = {}

    def require_open(self) -> Ready:
        """The model; raises a 503 problem if there is none, or the service is stopping."""
        if self.drain.begun:
            raise unavailable("not ready: the service was told to stop")
        return self.live_model.require()

    def get(self, path: str, endpoint: Callable[..., Any], **documentation: Any) -> None:
        """Answer GET at a path, and HEAD, which FastAPI would document as well."""
        hidden = {**documentation, "include_in_schema": False}
        self.routes.append(APIRoute(path, endpoint, methods=["GET", "HEAD"], **hidden))
        self.routes.append(APIRoute(path, endpoint, methods=["GET"], **documentation))

    def ready_at(self, path: str, summary: str | None = None) -> None:
        """Answer as /health/ready does; not in the documentation without a summary."""

        async def ready() -> Health:
            """200 once a model is loaded and proven, until the service is told to stop."""
            self.require_open()
            return Health(status="ready")

        self.open_paths.add(path)
        documentation = {"summary": summary, "include_in_schema": summary is not None}
        self.get(path, ready, responses=failures(503), **documentation)

    def predict_at(self, path: str, *dialects: Dialect) -> None:
        """Answer as /predict does, except to bodies in these dialects; protocols share a path."""
        self._dialects.setdefault(path, []).extend(dialects)

    def prediction_routes(self) -> list[APIRoute]:
        """A route for each path of `predict_at`, once all are added."""
        return [prediction_route(*each, self.inference) for each in self._dialects.items()]
