"""One model on disk: a sealed directory that is checked before anything in it is unpickled.

model.joblib                    the fitted scikit-learn pipeline
pipeline.py                     the code that built it, and that it is unpickled with
compiled.json, compiled.npz     its compiled form, unless the manifest says why it has none
golden.json                     records with the answers that the model gave when it was trained
report.md                       what it was trained on, and how well it does
manifest.json                   contract, metrics, settings, library versions, and a digest of each
                                of the files above and of its own content
manifest.sig                    a signature of the manifest, if the version was signed

Any other file is ignored. What is read is checked after it was read, in memory, and only what was
checked is used: a file that changes between the two is of no use to whoever changes it.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, packages_distributions
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import JsonValue, StringConstraints, ValidationError

from trivet.errors import ArtifactError
from trivet.model.code import PipelineFile
from trivet.model.trust import ANYTHING, SIGNATURE, Trust
from trivet.rows.contract import Contract, Frozen, Label, Record

MANIFEST, MODEL, CODE = "manifest.json", "model.joblib", "pipeline.py"
GOLDEN, REPORT = "golden.json", "report.md"

#: Libraries whose versions a manifest records.
LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "joblib")

#: How many leading numbers of a version must be equal for a pickle to be loaded.
MUST_MATCH = {"python": 2, "scikit-learn": 2, "numpy": 1}

ABSENT = "absent"
RECOVER = "promote another version, or train again"


#: A file of a model, in its own directory: cluster workers write files by these names.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class GoldenRows(Frozen):
    """Records, and for each its answer: probabilities in the order of labels, or one number."""

    labels: tuple[Label, ...]
    records: tuple[Record, ...]
    answers: list[list[float]]


class RowCounts(Frozen):
    """What became of the rows of a training table.

    ``total`` is how many were read, beside those ``rejected``, by cause. ``sampled`` is how many of
    the total were drawn to train on, or None where all were used.
    """

    total: int
    rejected: dict[str, int]
    sampled: int | None
    train: int
    held_out: int
    without_target: int


class EstimatorFacts(Frozen):
    """The estimator that was fitted: its class, and all its parameters as text or JSON values."""

    name: str
    params: dict[str, JsonValue]


class DataFacts(Frozen):
    """The training table: its name, its SHA-256, and its rows.

    ``missing_words`` counts the cells that held a word for a missing value, by column and word.
    """

    file: str
    sha256: str
    rows: RowCounts
    missing_words: dict[str, dict[str, int]]


class Manifest(Frozen):
    """Everything known about a model.

    ``not_compiled`` says why it has no compiled form, and is None if it has one. ``warnings`` are
    what a reader of the metrics should know, and what was warned of while it was fitted. ``files``
    holds the SHA-256 of each other file, by name, and ``seal`` that of all other fields. It shows
    an accident or an edit; whoever can write the files can also seal them.
    """

    format: Literal[3] = 3
    name: str
    version: str
    created: datetime
    contract: Contract
    estimator: EstimatorFacts
    metrics: dict[str, float | None]
    baseline: dict[str, float | None]
    settings: dict[str, JsonValue]
    data: DataFacts
    libraries: dict[str, str]
    not_compiled: str | None
    warnings: tuple[str, ...] = ()
    files: dict[FileName, str]
    seal: str = ""

    def digest(self) -> str:
        """SHA-256 of all fields but ``seal``, as JSON in the order in which they stand here."""
        return sha256(self.model_dump_json(exclude={"seal"}).encode()).hexdigest()


@dataclass(frozen=True)
class Draft:
    """A model before it is published: its manifest, and the contents of its other files by name.

    ``sign`` makes the signature of the manifest, if it is to be signed.
    """

    manifest: Manifest
    contents: Mapping[str, bytes]
    sign: Callable[[bytes], bytes] | None = None

    def write(self, directory: Path) -> None:
        """Write all files; the manifest goes last, with the digests of the others and its own."""
        for name, content in self.contents.items():
            (directory / name).write_bytes(content)
        digests = {name: sha256(content).hexdigest() for name, content in self.contents.items()}
        complete = self.manifest.model_copy(update={"files": digests})
        sealed = complete.model_copy(update={"seal": complete.digest()})
        content = sealed.model_dump_json(indent=1).encode() + b"\n"
        if self.sign:
            (directory / SIGNATURE).write_bytes(self.sign(content))
        (directory / MANIFEST).write_bytes(content)


@dataclass(frozen=True)
class Artifact:
    """A published model: where it is, and its manifest, also as the bytes that were read."""

    path: Path
    manifest: Manifest
    content: bytes = field(repr=False)

    @classmethod
    def open(cls, path: Path, trust: Trust = ANYTHING) -> Artifact:
        """Read the manifest, and its signature if the trust asks for one, and nothing else.

        Raises `ArtifactError` if it can't be used, or is not to be trusted.
        """
        try:
            content = (path / MANIFEST).read_bytes()
        except OSError as error:
            raise ArtifactError(
                f"{path}: no readable {MANIFEST} ({error.strerror}); {RECOVER}"
            ) from error
        trust.check_signature(path, content)
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            trouble = f"not a manifest ({place}: {fault['msg']})"
            if place == "format":
                known = f"this version of trivet reads format {fault['ctx']['expected']}"
                trouble = f"has format {fault['input']}, and {known}"
            raise ArtifactError(f"{path / MANIFEST}: {trouble}; train the model again") from error
        if manifest.seal != manifest.digest():
            raise ArtifactError(
                f"{path / MANIFEST}: was changed after training, so it is not used; {RECOVER}"
            )
        trust.check_form(path, manifest.not_compiled)
        return cls(path, manifest, content)

    def load_pipeline(self) -> Any:
        """The fitted pipeline, unpickled from the bytes that `verify` checked.

        Raises `ArtifactError`.
        """
        contents = self.verify()
        import joblib  # a compiled model does without

        try:
            PipelineFile(self.path / CODE, contents[CODE]).load()
            return joblib.load(io.BytesIO(contents[MODEL]))
        except Exception as error:
            raise ArtifactError(
                f"{self.path / MODEL}: can't be loaded ({type(error).__name__}: {error}); install "
                "what it needs here too"
            ) from error

    def golden_rows(self) -> GoldenRows:
        """The golden rows; raises `ArtifactError` if their file is not as it was written."""
        return GoldenRows.model_validate_json(self.read(GOLDEN))

    def verify(self) -> dict[str, bytes]:
        """Check library versions, then `verify_files`; raises `ArtifactError`."""
        self._check_libraries()
        return self.verify_files()

    def verify_files(self) -> dict[str, bytes]:
        """Check every digest and return the contents by name; raises `ArtifactError`."""
        names = sorted({MODEL, CODE, GOLDEN, REPORT, *self.manifest.files})
        return {name: self.read(name) for name in names}

    def read(self, name: str) -> bytes:
        """A file's content; raises `ArtifactError` unless it has the digest in the manifest."""
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise ArtifactError(
                f"{self.path / name}: can't be read ({error.strerror}); {RECOVER}"
            ) from error
        if sha256(content).hexdigest() != self.manifest.files.get(name):
            raise ArtifactError(
                f"{self.path / name}: its SHA-256 is not the one in the manifest: the file was "
                f"changed or cut short, so it is not loaded; {RECOVER}"
            )
        return content

    def _check_libraries(self) -> None:
        here = library_versions()
        for library, parts in MUST_MATCH.items():
            if here[library] == ABSENT and self.manifest.not_compiled is None:
                continue  # a compiled model needs no scikit-learn
            trained = self.manifest.libraries.get(library, "an unknown version")
            if trained.split(".")[:parts] != here[library].split(".")[:parts]:
                install = "" if library == "python" else f"pip install {library}=={trained}, or "
                raise ArtifactError(
                    f"{self.path}: trained with {library} {trained}, but {here[library]} is "
                    f"installed here and may not read its pickle; {install}train again here"
                )


@cache
def library_versions(estimator: str | None = None) -> dict[str, str]:
    """Versions of Python and of the libraries that a fitted pipeline depends on, by name.

    The package that the import path of an estimator begins with is among them.
    """
    package, is_path, _ = (estimator or "").partition(".")
    versions = {"python": platform.python_version()}
    others = packages_distributions().get(package, []) if is_path and package != "sklearn" else []
    for library in (*LIBRARIES, *others):
        try:
            versions[library] = installed_version(library)
        except PackageNotFoundError:
            versions[library] = ABSENT
    return versions
