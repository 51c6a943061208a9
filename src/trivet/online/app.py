"""The application: one service's routes and documentation, behind one gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import trivet
from trivet.cpus import worker_count
from trivet.online import logs
from trivet.online.background import in_background, watch_descriptors
from trivet.online.direct import direct_routes
from trivet.online.documentation import add_documentation
from trivet.online.drain import follow_parent
from trivet.online.fast_path import FAST_PATH, FastPath
from trivet.online.gate import Gate
from trivet.online.heartbeat import beat
from trivet.online.keys import Keys
from trivet.online.protocols import add_protocols
from trivet.online.routes import add_routes
from trivet.online.service import Service
from trivet.online.settings import ServeSettings


def create_app(settings: ServeSettings, keys: Keys | None = None) -> Gate:
    """The service for one model: it answers once that is loaded, or has been found not to load.

    Of several workers, each begins with the ``keys`` of the process that starts it. Raises
    `SettingsError` if those of the settings can't be used.
    """
    service = Service(settings, Keys(settings) if keys is None else keys)
    add_routes(service)
    add_protocols(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, FastPath]]:
        service.drain.on_signals(service.keys.catch_up if service.keys.path else None)
        routes = direct_routes(app.routes).items()
        fast_path = FastPath(service, {path: route.parse for path, route in routes if route.parse})
        async with in_background(follow_parent()):  # or it would wait for a model for ever
            await _first_model(service)
        async with in_background(
            service.live_model.follow(),
            service.keys.follow(),
            service.metrics.count_regularly(),
            service.deadlines.watch(),
            fast_path.watch(),
            follow_parent(),
            beat(),
            watch_descriptors(),
        ):
            yield {FAST_PATH: fast_path}
        service.inference.close()
        service.metrics.count()
        logs.flush()

    app = FastAPI(
        title=f"Trivet: {settings.model}",
        version=trivet.__version__,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    service.problems.install(app)
    add_documentation(app, service)
    app.router.routes += [*service.prediction_routes(), *service.routes]
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
