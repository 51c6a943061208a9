"""The application: one service's routes and documentation, behind one gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import trivet
from trivet.cpus import worker_count
from trivet.online import logs
from trivet.online.background import in_background
from trivet.online.documentation import add_documentation
from trivet.online.drain import follow_parent
from trivet.online.gate import Gate
from trivet.online.protocols import add_protocols
from trivet.online.routes import add_routes
from trivet.online.service import Service
from trivet.online.settings import ServeSettings


def create_app(settings: ServeSettings) -> Gate:
    """The service for one model: it answers once that is loaded, or has been found not to load."""
    service = Service(settings)
    add_routes(service)
    add_protocols(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.drain.on_signals()
        await _first_model(service)
        async with in_background(
            service.live_model.follow(),
            service.metrics.count_regularly(),
            service.deadlines.watch(),
            follow_parent(),
        ):
            yield
        service.metrics.count()
        logs.flush()

    app = FastAPI(
        title=f"Trivet: {settings.model}",
        version=trivet.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    service.problems.install(app)
    app.router.routes += [*service.prediction_routes(), *service.routes]
    add_documentation(app, service)
    return Gate(app, service)


async def _first_model(service: Service) -> None:
    """Look for a model before any request is accepted.

    One of several workers waits until it has one, so that the others get the requests.
    """
    live_model, settings = service.live_model, service.settings
    await live_model.catch_up()
    while not (live_model.ready or worker_count(settings.workers) == 1 or service.drain.begun):
        await asyncio.sleep(settings.reload_every or 1)
        await live_model.catch_up()
