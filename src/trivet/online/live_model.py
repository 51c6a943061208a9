"""The model that a worker answers with, and why there is none where there is none."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from trivet.artifact import Artifact, Manifest
from trivet.errors import TrivetError
from trivet.predictor import Predictor
from trivet.store import ModelStore

logger = logging.getLogger("trivet.online")


@dataclass(frozen=True)
class ServeSettings:
    """Which model a service answers with."""

    model: str = "model"
    model_version: str | None = None
    models_dir: Path = Path("models")

    def artifact(self) -> Artifact:
        """The artifact that these settings name; raises `StoreError` or `ArtifactError`."""
        return ModelStore(self.models_dir).artifact(self.model, self.model_version)


@dataclass(frozen=True)
class Ready:
    """A model whose golden rows gave the golden answers."""

    manifest: Manifest
    predictor: Predictor


class LiveModel:
    """Holds the model once it is loaded; until then, the reason why it can't answer."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self.ready: Ready | None = None
        self.reason, self.loading = "the model is being loaded", True

    def load(self) -> None:
        """Load and prove the model; trouble becomes the reason for not being ready."""
        try:
            artifact = self._settings.artifact()
            self.ready = Ready(artifact.manifest, Predictor.load(artifact))
        except TrivetError as error:
            self.reason = str(error)
            logger.error("not ready: %s", error)
        except Exception:
            self.reason = "the model could not be loaded; the log says why"
            logger.exception("not ready: %s", self.reason)
        else:
            logger.info("ready: %s %s", artifact.manifest.name, artifact.manifest.version)
        finally:
            self.loading = False
