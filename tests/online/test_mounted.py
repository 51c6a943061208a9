"""The service within an app of someone else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from trivet.model.artifact import Artifact
from trivet.online.app import create_app
from trivet.online.settings import ServeSettings


@pytest.mark.parametrize("keys", [[], [b"0123456789abcdef"]])
def test_a_mounted_service_answers_as_one_alone(
    flights: Artifact, flights_store: Path, keys: list[bytes]
) -> None:
    service = create_app(ServeSettings("flights", models_dir=flights_store, api_keys=keys))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.lifespan():
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/flights", service)
    headers = {"X-API-Key": keys[0].decode()} if keys else {}
    example = flights.manifest.contract.example
    with TestClient(app) as client:
        assert client.get("/flights/health/ready").json() == {"status": "ready"}
        answer = client.post("/flights/predict", json=example, headers=headers)
        assert answer.json()["model"] == "flights"
        if keys:
            assert client.post("/flights/predict", json=example).status_code == 401
        metrics = client.get("/flights/metrics", headers=headers).text
        assert 'trivet_requests_total{route="/predict",status="200"} 1.0' in metrics
