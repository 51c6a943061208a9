"""The metrics for Prometheus: of requests, their stages, batches, reloads and rows.

Each of several workers writes its own files in one directory, so that any worker can answer for
all: the process that starts them calls `share` first.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import values as value_classes
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from trivet.model.artifact import Manifest
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract
from trivet.rows.values import UNSEEN, column_encoder

logger = logging.getLogger("trivet.online")

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
#: The bytes of a worker's files in it: more than 20 routes and 200 features take.
ROOM = {"counter": 131_072, "histogram": 131_072, "gauge_livesum": 65_536}
#: Seconds between two updates of what is not counted as it happens. They hold up requests.
COUNT_EVERY = 0.05
#: Upper bounds of histograms, in seconds: from one stage of a small request to a large request.
SECONDS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
#: The stages of an inference request; predict includes the wait for its batch.
STAGES = ("parse", "predict", "write")
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Metrics:
    """The counters of one worker."""

    def __init__(self) -> None:
        _take_room()
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        histogram = partial(_Histogram, registry=registry)
        times = partial(histogram, buckets=SECONDS)
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")

        requests = counter(
            "trivet_requests", "Requests answered, by route and status.", ["route", "status"]
        )
        whole = "From the request's head to the end of the answer."
        latency = times("trivet_request_seconds", whole, ["route"])
        each = "Of an inference request: parse, predict (with the wait for its batch), write."
        stages = times("trivet_stage_seconds", each, ["stage"])
        by_key = counter("trivet_key_requests", "Requests with a known key, by its name.", ["key"])
        self._requests, self._by_key = requests, by_key
        self._latency, self._stages = latency, stages
        #: What was not counted yet: requests by route, status and key; seconds by route; those of
        #: each stage; and batches of rows, with the watch of their model. To count each by itself
        #: would take longer than to predict it.
        self._answered: Counts[tuple[str, int, str | None]] = Counts()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._staged: list[tuple[float, float, float]] = []
        self._uncounted: deque[tuple[RowWatch, Rows]] = deque()
        self._batch = histogram("trivet_batch_rows", "Rows predicted together.", buckets=ROWS)
        #: Requests received and not yet answered.
        self.in_flight = 0
        self._in_flight = gauge("trivet_in_flight", "Requests received and not yet answered.")
        self.rejected = counter("trivet_rejected", "Requests refused, by reason.", ["reason"])
        loads = "Versions loaded after the first one, and those that could not be loaded."
        self.reloads = counter("trivet_reloads", loads, ["outcome"])
        labels = ["model", "version", "form"]
        self._model = gauge("trivet_model_info", "Workers that answer with this version.", labels)
        self._features = {
            what: counter(f"trivet_{what}_values", help_text, ["feature"])
            for what, help_text in (
                ("missing", "Values that were missing, by feature."),
                ("unseen", "Categories that training did not see, by feature."),
                ("out_of_range", "Values beyond those of training, by feature."),
            )
        }
        self._rows = counter("trivet_rows", "Rows predicted.")
        for reason in ("overload", "unauthorized", "body_too_large", "too_many_rows", "malformed"):
            self.rejected.labels(reason)
        for outcome in ("loaded", "failed"):
            self.reloads.labels(outcome)
        for stage in STAGES:
            self._stages.labels(stage)

    def predicted(self, watch: RowWatch, rows: Rows) -> None:
        """Note the rows of one batch, (rows x features); any thread may call this."""
        self._uncounted.append((watch, rows))

    def count(self) -> None:
        """Update what is not counted as it happens."""
        self._in_flight.set(self.in_flight)
        answered, self._answered = self._answered, Counts()
        for (route, status, key), requests in answered.items():
            self._requests.labels(route, status).inc(requests)
            if key is not None:
                self._by_key.labels(key).inc(requests)
        seconds, self._seconds = self._seconds, defaultdict(list)
        for route, each in seconds.items():
            self._latency.labels(route).observe_all(each)
        staged, self._staged = self._staged, []
        for stage, each_took in zip(STAGES, zip(*staged, strict=True), strict=False):
            self._stages.labels(stage).observe_all(each_took)
        batches = [self._uncounted.popleft() for _ in range(len(self._uncounted))]
        for watch, group in groupby(batches, itemgetter(0)):
            some = [batch for _, batch in group]
            self._batch.observe_all([len(batch) for batch in some])
            rows = np.concatenate(some)
            self._rows.inc(len(rows))
            for what, feature, count in watch.odd_values(rows):
                self._features[what].labels(feature).inc(count)

    async def count_regularly(self) -> None:
        """Count off the hot path, until cancelled: another worker may be asked for the metrics."""
        while True:
            await asyncio.sleep(COUNT_EVERY)
            self.count()

    def answered(self, route: str, status: int, seconds: float, key: str | None) -> None:
        """Note one request; ``key`` is the name of the key that it brought."""
        self._answered[route, status, key] += 1
        self._seconds[route].append(seconds)

    def staged(self, parse: float, predict: float, write: float) -> None:
        """Note how many seconds the stages of one inference request took."""
        self._staged.append((parse, predict, write))

    def answers_with(self, manifest: Manifest, before: Manifest | None) -> None:
        """Say which version this worker answers with from now on."""
        for each, value in ((before, 0), (manifest, 1)):
            if each is not None:
                form = "compiled" if each.not_compiled is None else "pipeline"
                self._model.labels(each.name, each.version, form).set(value)

    def page(self) -> bytes:
        """All metrics of all workers in Prometheus' text format."""
        self.count()
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


class _Histogram(Histogram):
    """A histogram that counts many values at once."""

    def observe_all(self, values: Sequence[float]) -> None:
        """As `observe` for each of these values."""
        counts = np.bincount(np.searchsorted(self._upper_bounds, values)).tolist()
        for bucket, count in zip(self._buckets, counts, strict=False):
            if count:
                bucket.inc(count)
        self._sum.inc(sum(values))


class RowWatch:
    """Finds values unlike those of a model's training, in many rows at once."""

    def __init__(self, contract: Contract) -> None:
        self._names = contract.feature_names
        self._is_category = np.array([column.kind == "category" for column in contract.columns])
        self._low, self._high = _ranges(contract)

    def odd_values(self, rows: Rows) -> Iterator[tuple[str, str, int]]:
        """What is odd (missing, unseen or out_of_range), the feature's name, and how many are."""
        found = {
            "missing": np.isnan(rows),
            "unseen": (rows == UNSEEN) & self._is_category,
            "out_of_range": (rows < self._low) | (rows > self._high),
        }
        for what, values in found.items():
            for name, count in zip(self._names, values.sum(axis=0).tolist(), strict=True):
                if count:
                    yield what, name, count


def share(directory: str) -> None:
    """Make all processes that are started from now on write their metrics to this directory."""
    os.environ[DIRECTORY] = directory


def _take_room() -> None:
    """Fill this worker's files with zeros: on a disk that is full later, it would be killed.

    The files are mapped into memory, where a write that finds no room is a SIGBUS. If there is none
    from the start, the worker's requests are not counted.
    """
    if (directory := os.environ.get(DIRECTORY)) is None:
        return
    own = [(Path(directory, f"{kind}_{os.getpid()}.db"), size) for kind, size in ROOM.items()]
    try:
        for path, size in own:
            if not path.exists():
                path.write_bytes(bytes(size))
    except OSError as error:
        logger.error("no room for metrics in %s (%s): a worker counts nothing", directory, error)
        for path, _ in own:
            path.unlink(missing_ok=True)
        value_classes.ValueClass = value_classes.MutexValue  # which is of this process alone


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
    except OSError:  # there is none, or it is now another user's
        return False
    return True
