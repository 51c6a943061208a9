"""BentoML, as two services: one call per request, and adaptive batching."""

import os

import bentoml
import joblib
import pandas as pd
from flight import Flight

QUIET = {"workers": 1, "logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}


@bentoml.service(**QUIET)
class Plain:
    def __init__(self) -> None:
        self.pipeline = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, flights: list[Flight]) -> list[float]:
        frame = pd.DataFrame([flight.model_dump() for flight in flights])
        return self.pipeline.predict_proba(frame)[:, 1].tolist()


@bentoml.service(**QUIET)
class Batching:
    def __init__(self) -> None:
        self.pipeline = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=1000, max_latency_ms=1000)
    def predict(self, flights: list[Flight]) -> list[float]:
        frame = pd.DataFrame([flight.model_dump() for flight in flights])
        return self.pipeline.predict_proba(frame)[:, 1].tolist()
