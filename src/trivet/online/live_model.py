"""The model that a worker answers with, and how a newer version replaces it."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus

from trivet.errors import TrivetError
from trivet.model.artifact import Manifest
from trivet.model.predictor import Predictor
from trivet.model.store import ModelStore
from trivet.online.batcher import Batcher, ThreadBatcher
from trivet.online.metrics import Metrics, RowWatch
from trivet.online.problems import ProblemError
from trivet.online.settings import ServeSettings
from trivet.rows.arrays import Rows

logger = logging.getLogger("trivet.online")

RawHeaders = list[tuple[bytes, bytes]]

#: Seconds until a version that could not be loaded is tried again.
RETRY_AFTER = 30.0


@dataclass(frozen=True)
class Ready:
    """A model that gave the golden answers; ``observe`` is called with the rows it predicts."""

    manifest: Manifest
    predictor: Predictor
    batcher: Batcher
    observe: Callable[[Rows], None]

    @cached_property
    def headers(self) -> RawHeaders:
        """What the header of each answer says of the model, as ASGI takes it."""
        return [(b"x-model-version", self.manifest.version.encode())]


class LiveModel:
    """Holds the model once it is loaded, and replaces it when the store's pointer has moved.

    ``reason`` says why there is no model, or why the current version could not be loaded.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.store = ModelStore(settings.models_dir, settings.trust)
        self._thread = ThreadPoolExecutor(1, "pipeline")
        self._failed, self._try_again = "", 0.0
        self.ready: Ready | None = None
        self.reason: str | None = None

    async def follow(self) -> None:
        """Load the current version whenever another one becomes current, until cancelled.

        The pointer is polled: that also works on bind mounts and network volumes.
        """
        every, pinned = self._settings.reload_every, self._settings.model_version is not None
        while every and not (pinned and self.ready):
            await asyncio.sleep(every)
            await self.catch_up()

    def require(self) -> Ready:
        """The model, once it can answer; until then a 503 problem with the reason."""
        if self.ready is None:
            raise unavailable(f"not ready: {self.reason}")
        return self.ready

    async def catch_up(self) -> None:
        """Load the current version; if that fails, the old one stays."""
        try:
            newer = await asyncio.to_thread(self._load_newer)
        except TrivetError as error:
            self._stay(str(error))
        except Exception:
            logger.exception("a version could not be loaded")
            self._stay("the model could not be loaded; the log says why")
        else:
            if newer is not None:
                self._swap(newer)

    def _load_newer(self) -> Ready | None:
        """The current version, once it gave the golden answers; None if there is nothing new."""
        settings = self._settings
        if (version := settings.model_version) is None:
            version = self.store.in_use(settings.model)
        if self.ready and version == self.ready.manifest.version:
            self.reason, self._failed = None, ""
            return None
        if version == self._failed and time.monotonic() < self._try_again:
            return None
        self._failed, self._try_again = version, time.monotonic() + RETRY_AFTER
        artifact = self.store.artifact(settings.model, version)
        manifest, predictor = artifact.manifest, Predictor.load(artifact)
        observe = partial(self._metrics.predicted, RowWatch(manifest.contract))
        if manifest.not_compiled is None:  # faster than switching threads
            batcher = Batcher(predictor, observe)
        else:
            batcher = ThreadBatcher(predictor, observe, self._thread)
        self._failed = ""
        return Ready(manifest, predictor, batcher, observe)

    def _swap(self, newer: Ready) -> None:
        """Answer with another model from the next request on; those in flight keep the old one."""
        before, self.ready, self.reason = self.ready, newer, None
        self._metrics.answers_with(newer.manifest, before.manifest if before else None)
        if before:
            self._metrics.reloads.labels("loaded").inc()
        else:
            gc.freeze()  # what stays for good need not be collected: that takes long
        logger.info("ready: %s %s", newer.manifest.name, newer.manifest.version)

    def _stay(self, reason: str) -> None:
        if reason != self.reason:
            logger.error("%s: %s", "not reloaded" if self.ready else "not ready", reason)
            if self.ready:
                self._metrics.reloads.labels("failed").inc()
        self.reason = reason


def unavailable(detail: str) -> ProblemError:
    """A 503 problem that asks to try again."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "1"})
