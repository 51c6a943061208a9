"""Train a model and publish it, unless the store has one made from the same things."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from trivet.model.artifact import (
    CODE,
    GOLDEN,
    MODEL,
    REPORT,
    DataFacts,
    Draft,
    Manifest,
    library_versions,
)
from trivet.model.code import DEFAULT, PipelineFile
from trivet.model.store import ModelStore
from trivet.model.trust import ANYTHING
from trivet.rows.rejects import HEADER, too_many
from trivet.rows.sources import Source, find_sources
from trivet.train.settings import OnStep, TrainSettings, Watch
from trivet.train.version import inputs_digest

if TYPE_CHECKING:
    from trivet.model.keys import Signer

#: The file of rejected rows in an artifact.
REJECTED = "rejected.csv"
#: How many hex digits of the digest name a version.
VERSION_DIGITS = 12


@dataclass(frozen=True)
class TrainResult:
    """The version that the settings lead to, whether this run made it, and the current version.

    ``current`` is None if no version is, or none that can be used.
    """

    manifest: Manifest
    trained: bool
    current: str | None


def train(
    settings: TrainSettings, watch: Watch = lambda *_: None, on_step: OnStep = lambda _: None
) -> TrainResult:
    """Train on a table and publish the model as the current version.

    If the store has a version made from the same data, settings, code and libraries, nothing is
    trained, and scikit-learn is not even imported. ``watch`` is called while the table is read,
    ``on_step`` when a later step begins. Raises `TrivetError`.
    """
    with tempfile.TemporaryDirectory() as folder:  # for standard input
        sources = find_sources(str(settings.data), Path(folder, "stdin"))
        return _train(settings, sources, watch, on_step)


def _train(
    settings: TrainSettings, sources: Sequence[Source], watch: Watch, on_step: OnStep
) -> TrainResult:
    signer = _signer(settings)
    store = ModelStore(settings.models_dir, signer.trust if signer else ANYTHING)
    data_digest = _digest(sources)
    shaping = settings.shaping() | _reading(sources, settings)
    pipeline = PipelineFile.read(Path(settings.pipeline or DEFAULT))
    libraries = library_versions(settings.estimator)
    version = inputs_digest(data_digest, shaping, pipeline, libraries)[:VERSION_DIGITS]
    taken = _revisions(store, settings.model, version)
    present = [known for known in taken if store.whole(settings.model, known)]
    if present and not settings.force:
        return _up_to_date(store, settings, present)
    if taken:  # a version is never replaced: this will be its next revision
        version = f"{version}-r{_revision(taken[-1]) + 1}"
    draft = _fitted(settings, sources, pipeline, watch, on_step, version, data_digest)
    draft = replace(draft, sign=signer.sign if signer else None)
    if not store.publish(settings.model, version, draft.write, settings.promote):
        return _up_to_date(store, settings, [version])  # another run was faster
    manifest = store.artifact(settings.model, version).manifest
    return TrainResult(manifest, True, store.whole(settings.model))


def _signer(settings: TrainSettings) -> Signer | None:
    if settings.sign_key is None:
        return None
    from trivet.model.keys import Signer  # needs an extra

    return Signer(Path(settings.sign_key))


def _revisions(store: ModelStore, name: str, version: str) -> list[str]:
    """The versions made from the same things, oldest first: ``VERSION``, ``VERSION-r2``, ..."""
    named = re.compile(rf"{version}(-r[0-9]+)?")
    return sorted((known for known in store.taken(name) if named.fullmatch(known)), key=_revision)


def _revision(version: str) -> int:
    return int(version.partition("-r")[2] or 1)


def _up_to_date(store: ModelStore, settings: TrainSettings, present: list[str]) -> TrainResult:
    """The version that is there, made current if no usable one is.

    Raises `TooManyRejected` if it was trained with a higher limit.
    """
    current = store.whole(settings.model)
    version = current if current in present else present[-1]
    manifest = store.artifact(settings.model, version).manifest
    rows = manifest.data.rows
    total = rows.total + sum(rows.rejected.values())
    if not settings.limit.allows(total - rows.total, total):
        raise too_many(rows.rejected, total, f"; they are in {REJECTED} of version {version}")
    if current is None and settings.promote:
        store.promote(settings.model, version, "no usable version was current", by="train")
        current = version
    return TrainResult(manifest, False, current)


def _fitted(
    settings: TrainSettings,
    sources: Sequence[Source],
    pipeline: PipelineFile,
    watch: Watch,
    on_step: OnStep,
    version: str,
    data_digest: str,
) -> Draft:
    # Imported here so that finding a model up to date costs nothing.
    from trivet.train.fit import estimator_facts, fit
    from trivet.train.plan import row_counts
    from trivet.train.report import render
    from trivet.train.save import prove_saved, save
    from trivet.train.table import read_training_table

    reading = read_training_table(settings, sources, watch)
    model = fit(reading.table, settings, pipeline, on_step)
    manifest = Manifest(
        name=settings.model,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        contract=model.contract,
        estimator=estimator_facts(model.pipeline, settings.params),
        metrics=model.metrics,
        baseline=model.baseline,
        settings=settings.shaping(),
        data=DataFacts(
            file=reading.table.name,
            sha256=data_digest,
            rows=row_counts(reading, model.rows_fitted, model.rows_held_out),
            missing_words={name: {**words} for name, words in reading.table.missing_words.items()},
        ),
        libraries=library_versions(settings.estimator),
        not_compiled=model.compiled if isinstance(model.compiled, str) else None,
        warnings=model.warnings,
        files={},
    )
    saved = save(model.pipeline, pipeline)
    if manifest.not_compiled is not None:  # a compiled model is used without unpickling it
        prove_saved(saved, pipeline, model.contract, model.golden)
    contents = {
        MODEL: saved,
        CODE: pipeline.content,
        GOLDEN: model.golden.model_dump_json().encode(),
        REPORT: render(manifest).encode(),
    }
    if reading.rejected:
        contents[REJECTED] = HEADER + reading.rejected_rows
    if not isinstance(model.compiled, str):
        contents |= model.compiled.dump()
    return Draft(manifest, contents)


def _reading(sources: Sequence[Source], settings: TrainSettings) -> dict[str, JsonValue]:
    """How the bytes are read, as far as the names of files decide it."""
    delimiters = [
        settings.delimiter or source.delimiter for source in sources if source.format == "csv"
    ]
    return {"format": sources[0].format, "delimiter": "".join(sorted({*delimiters}))}


def _digest(sources: Sequence[Source]) -> str:
    """SHA-256 of the source, or of the digests of several, in order."""
    digests = [source.digest() for source in sources]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()
