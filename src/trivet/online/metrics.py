"""What Prometheus is told: requests, stages, batches, reloads, and how the rows look.

With several workers, each counts into files of its own in one directory, and any of them answers
for all: `share` must have been called before prometheus_client is first imported.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from trivet.artifact import Manifest
from trivet.contract import Contract
from trivet.encode import UNSEEN, column_encoder

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
#: Upper bounds, in seconds: of a stage of a compiled model to that of a large request.
SECONDS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Metrics:
    """The counters of one worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        requests = Counter(
            "trivet_requests",
            "Requests answered, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        latency = Histogram(
            "trivet_request_seconds",
            "From the request's head to the end of the answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        stages = Histogram(
            "trivet_stage_seconds",
            "Of an inference request: parse, predict (with the wait for its batch), write.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._request = cache(requests.labels)
        self._latency = cache(latency.labels)
        self._stages = [stages.labels(stage) for stage in ("parse", "predict", "write")]
        batch = Histogram(
            "trivet_batch_rows", "Rows predicted together.", buckets=ROWS, registry=registry
        )
        self.predicted = batch.observe
        #: Requests taken on and not yet answered.
        self.in_flight = 0
        self._in_flight = Gauge(
            "trivet_in_flight",
            "Requests taken on and not yet answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.rejected = Counter(
            "trivet_rejected", "Requests turned away unread.", ["reason"], registry=registry
        )
        self.reloads = Counter(
            "trivet_reloads",
            "Versions taken up after the first one, and those that could not be.",
            ["outcome"],
            registry=registry,
        )
        self._model = Gauge(
            "trivet_model_info",
            "Workers that answer with this version.",
            ["model", "version", "form"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._features = {
            what: Counter(f"trivet_{what}_values", help_text, ["feature"], registry=registry)
            for what, help_text in (
                ("missing", "Values that were missing, by feature."),
                ("unseen", "Categories that training did not see, by feature."),
                ("out_of_range", "Values beyond those of training, by feature."),
            )
        }
        self.rows = Counter("trivet_rows", "Rows predicted.", registry=registry)
        for reason in ("overload", "unauthorized", "body_too_large", "too_many_rows"):
            self.rejected.labels(reason)
        for outcome in ("loaded", "failed"):
            self.reloads.labels(outcome)

    def count(self) -> None:
        """Bring up to date what is not counted as it happens."""
        self._in_flight.set(self.in_flight)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._request(route, status).inc()
        self._latency(route).observe(seconds)

    def staged(self, *seconds: float) -> None:
        """Count the stages of one inference request: parse, predict, write."""
        for stage, took in zip(self._stages, seconds, strict=True):
            stage.observe(took)

    def answers_with(self, manifest: Manifest, before: Manifest | None) -> None:
        """Say which version this worker answers with from now on."""
        for each, value in ((before, 0), (manifest, 1)):
            if each is not None:
                form = "compiled" if each.not_compiled is None else "pipeline"
                self._model.labels(each.name, each.version, form).set(value)

    def feature(self, what: str, feature: str, count: int) -> None:
        """Count values of a feature that are missing, unseen or out of range."""
        self._features[what].labels(feature).inc(count)

    def page(self) -> bytes:
        """All metrics of all workers in Prometheus' text format."""
        directory = os.environ.get(DIRECTORY)
        if directory is None:
            return generate_latest(self._registry)
        for path in Path(directory).glob("gauge_live*_*.db"):
            pid = path.stem.rpartition("_")[2]
            if not _alive(int(pid)):
                with suppress(FileNotFoundError):  # another worker was asked at the same time
                    mark_process_dead(pid, directory)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, directory)
        return generate_latest(registry)


class RowWatch:
    """Counts rows, and their missing, unseen and out-of-range values, many at once."""

    def __init__(self, contract: Contract, metrics: Metrics) -> None:
        self._names, self._metrics = contract.feature_names, metrics
        kinds = [column.kind == "category" for column in contract.columns]
        self._is_category = np.array(kinds, dtype=bool)
        self._low, self._high = _ranges(contract)
        self._waiting: deque[NDArray[np.float64]] = deque()

    def add(self, rows: NDArray[np.float64]) -> None:
        """Take in the rows of one batch, (rows x features); any thread may call this."""
        self._metrics.predicted(len(rows))
        self._waiting.append(rows)

    def count(self) -> None:
        """Count what was taken in since the last time."""
        batches = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not batches:
            return
        rows = np.concatenate(batches)
        self._metrics.rows.inc(len(rows))
        found = {
            "missing": np.isnan(rows),
            "unseen": (rows == UNSEEN) & self._is_category,
            "out_of_range": (rows < self._low) | (rows > self._high),
        }
        for what, values in found.items():
            for name, count in zip(self._names, values.sum(axis=0).tolist(), strict=True):
                if count:
                    self._metrics.feature(what, name, count)


def share(directory: str) -> None:
    """Let all processes that are started from here on count into this directory."""
    os.environ[DIRECTORY] = directory


def _ranges(contract: Contract) -> tuple[Sequence[float], Sequence[float]]:
    """The least and the greatest value of each feature in training; none for a category."""
    low, high = [], []
    for column in contract.columns:
        encode = column_encoder(column.model_copy(update={"nullable": True}))
        bounded = column.kind not in ("category", "boolean")
        low.append(encode(column.minimum) if bounded else -np.inf)
        high.append(encode(column.maximum) if bounded else np.inf)
    return low, high


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
