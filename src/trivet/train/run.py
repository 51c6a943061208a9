"""Train a model and publish it, unless the store has one from the same inputs."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trivet.errors import ArtifactError, TableError
from trivet.model.artifact import (
    GOLDEN,
    MODEL,
    REPORT,
    DataFacts,
    Draft,
    Manifest,
    dump_pipeline,
    library_versions,
)
from trivet.model.store import ModelStore
from trivet.train.settings import TrainSettings
from trivet.train.version import inputs_digest

#: How many hex digits of the inputs' digest name a version.
VERSION_DIGITS = 12


@dataclass(frozen=True)
class TrainResult:
    """The version that the settings lead to, whether this run made it, and the current version."""

    manifest: Manifest
    trained: bool
    current: str | None


def train(settings: TrainSettings) -> TrainResult:
    """Train on a table and publish the model as the current version.

    Where the store has a version from the same data, settings, code and libraries, nothing is
    trained (and scikit-learn is not even imported). Raises `TrivetError`.
    """
    store = ModelStore(settings.models_dir)
    data_digest = _file_digest(settings.data)
    inputs = inputs_digest(data_digest, settings.shaping())
    version = inputs[:VERSION_DIGITS]
    taken = _revisions(store, settings.model, version)
    present = [known for known in taken if _is_whole(store, settings.model, known)]
    if present and not settings.force:
        return _up_to_date(store, settings, present)
    if taken:  # a version is never replaced: the same inputs again make its next revision
        version = f"{version}-r{_revision(taken[-1]) + 1}"
    artifact = _fitted(settings, version, inputs, data_digest)
    if not store.publish(settings.model, version, artifact.write, settings.promote):
        return _up_to_date(store, settings, [version])  # another run was faster
    return _result(store, settings, version, trained=True)


def _revisions(store: ModelStore, name: str, version: str) -> list[str]:
    """The versions from the same inputs, oldest first: ``VERSION``, ``VERSION-r2``, ..."""
    named = re.compile(rf"{version}(-r[0-9]+)?")
    return sorted((known for known in store.taken(name) if named.fullmatch(known)), key=_revision)


def _is_whole(store: ModelStore, name: str, version: str) -> bool:
    try:
        store.artifact(name, version).verify_files()
    except ArtifactError:
        return False
    return True


def _revision(version: str) -> int:
    return int(version.partition("-r")[2] or 1)


def _up_to_date(store: ModelStore, settings: TrainSettings, present: list[str]) -> TrainResult:
    pointer = store.current(settings.model)
    version = pointer.version if pointer and pointer.version in present else present[-1]
    if pointer is None and settings.promote:
        store.promote(settings.model, version)
    return _result(store, settings, version, trained=False)


def _result(store: ModelStore, settings: TrainSettings, version: str, trained: bool) -> TrainResult:
    pointer = store.current(settings.model)
    manifest = store.artifact(settings.model, version).manifest
    return TrainResult(manifest, trained, pointer.version if pointer else None)


def _fitted(settings: TrainSettings, version: str, inputs: str, data_digest: str) -> Draft:
    # Imported here so that finding a model up to date costs nothing.
    from trivet.rows.columns import read_table
    from trivet.train.fit import fit
    from trivet.train.report import render

    model = fit(read_table(settings.data), settings)
    manifest = Manifest(
        name=settings.model,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        inputs=inputs,
        contract=model.contract,
        metrics=model.metrics,
        baseline=model.baseline,
        settings=settings.shaping(),
        data=DataFacts(file=settings.data.name, sha256=data_digest, rows=model.rows),
        libraries=library_versions(),
        not_compiled=model.compiled if isinstance(model.compiled, str) else None,
        files={},
    )
    contents = {
        MODEL: dump_pipeline(model.pipeline),
        GOLDEN: model.golden.model_dump_json().encode(),
        REPORT: render(manifest).encode(),
    }
    if not isinstance(model.compiled, str):
        contents |= model.compiled.dump()
    return Draft(manifest, contents)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TableError(f"{path}: can't be read ({error.strerror}); check the path") from error
