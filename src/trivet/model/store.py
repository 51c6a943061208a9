"""Where models live: ``<root>/<name>/<version>/``, and a pointer file ``current`` beside them.

A version is written to a staging directory and published by one rename; the pointer is replaced by
another. So a process that is killed at any moment leaves complete versions and a valid pointer.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from trivet.errors import ArtifactError, StoreError, TrivetError, did_you_mean
from trivet.files import open_to_write, sync, write_anew
from trivet.model import history
from trivet.model.artifact import MANIFEST, Artifact
from trivet.model.trust import ANYTHING, SIGNATURE, Trust
from trivet.rows.contract import Frozen

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: The store, and the model in it, if nothing else is said.
DEFAULT_DIRECTORY, DEFAULT_MODEL = Path("models"), "model"
EMPTY = "no model in this store; train one first: trivet train"
CURRENT, LOCK, STAGING = "current", ".lock", ".staging-"
#: How many versions a pointer remembers, to roll back to.
REMEMBERED = 100


class Pointer(Frozen):
    """The current version, and up to `REMEMBERED` that were current before it, newest last."""

    version: str
    history: tuple[str, ...] = ()


class ModelStore:
    """A directory of models, of which it gives those to be trusted.

    Reading needs no lock and no write access.
    """

    def __init__(self, root: str | Path, trust: Trust = ANYTHING) -> None:
        self.root, self.trust = Path(root), trust

    def names(self) -> list[str]:
        """Names of the models that have a version, sorted."""
        names = (path.name for path in self.root.glob("*") if NAME.fullmatch(path.name))
        return sorted(name for name in names if self.versions(name))

    def taken(self, name: str) -> list[str]:
        """Names of a model's versions and of what is left of damaged ones, sorted."""
        paths = (self.root / checked(name)).glob("*/")
        return sorted(path.name for path in paths if NAME.fullmatch(path.name))

    def versions(self, name: str) -> list[str]:
        """Names of a model's published versions, sorted."""
        home = self.root / name
        return [version for version in self.taken(name) if (home / version / MANIFEST).exists()]

    def current(self, name: str) -> Pointer | None:
        """The pointer of a model; None if no version was ever current."""
        path = self.root / checked(name) / CURRENT
        try:
            pointer = Pointer.model_validate_json(path.read_bytes())
            checked(pointer.version)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, StoreError) as error:
            raise StoreError(f"{path}: not a readable pointer; {_promote(name)}") from error
        return pointer

    def in_use(self, name: str) -> str:
        """The current version of a model; raises `StoreError` if there is none."""
        pointer = self.current(name)
        if pointer is None or not (self.root / name / pointer.version).is_dir():
            raise self._without_current(name, pointer)
        return pointer.version

    def artifact(self, name: str, version: str | None = None) -> Artifact:
        """One version of a model, the current one by default.

        Raises `StoreError` if it is not there, and `ArtifactError` if its manifest can't be used,
        is not to be trusted, or names another model or version than its directory does.
        """
        version = self.in_use(name) if version is None else checked(version)
        path = self.root / checked(name) / version
        if not path.is_dir():
            known = ", ".join(self.versions(name)) or "none: train it first"
            raise StoreError(
                f"{self.root}: model {name!r} has no version {version!r}; it has {known}"
            )
        artifact = Artifact.open(path, self.trust)
        made_as = artifact.manifest.name, artifact.manifest.version
        if made_as != (name, version):
            raise ArtifactError(
                f"{path}: holds version {made_as[1]} of model {made_as[0]}, so it is not used "
                f"under this name; move it to {self.root.joinpath(*made_as)}, or remove it"
            )
        return artifact

    def whole(self, name: str, version: str | None = None) -> str | None:
        """The version, by default the current one, if `artifact` has it and its files are whole."""
        try:
            artifact = self.artifact(name, version)
            artifact.verify_files()
        except (ArtifactError, StoreError):
            return None
        return artifact.manifest.version

    def publish(
        self, name: str, version: str, write: Callable[[Path], None], promote: bool = True
    ) -> bool:
        """Publish a version at once: ``write`` fills a staging directory, which is then renamed.

        If that fails, nothing is left. A version is never replaced: if it is there already, this
        changes nothing and returns False.
        """
        with self.locked(name, anew=True) as home:
            staging, final = home / f"{STAGING}{checked(version)}", home / version
            if final.exists():
                return False
            try:
                staging.mkdir()
                write(staging)
                for path in (*staging.iterdir(), staging):
                    sync(path)
                staging.rename(final)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            sync(home)
            if promote:
                self._point(home, version, by="train")
        return True

    def promote(self, name: str, version: str, why: str = "", by: history.By = "hand") -> None:
        """Make a version the current one, after checking its files."""
        with self.locked(name) as home:
            self.artifact(name, version).verify_files()
            self._point(home, version, why, by)

    def rollback(
        self,
        name: str,
        on_damaged: Callable[[TrivetError], object] = lambda _: None,
        why: str = "rolled back",
    ) -> str:
        """Make the version current that was current before, and return it.

        Versions that are damaged or gone are passed over; ``on_damaged`` is called for each.
        """
        with self.locked(name) as home:
            pointer = self.current(name)
            if pointer is None:
                raise self._without_current(name, None)
            earlier = list(pointer.history)
            while earlier:
                version = earlier.pop()
                try:
                    self.artifact(name, version).verify_files()
                except (ArtifactError, StoreError) as error:
                    on_damaged(error)
                else:
                    history.record(home, pointer.version, version, "hand", why)
                    write_pointer(home, Pointer(version=version, history=tuple(earlier)))
                    return version
        raise StoreError(
            f"{self.root}: model {name!r} has no earlier version to roll back to; {_promote(name)}"
        )

    def sign(self, name: str, version: str | None, sign: Callable[[bytes], bytes]) -> str:
        """Sign a version, by default the current one, after checking its files, and return it."""
        with self.locked(name):
            artifact = self.artifact(name, version)
            artifact.verify_files()
            write_anew(artifact.path / SIGNATURE, sign(artifact.content))
        return artifact.manifest.version

    def promotions(self, name: str) -> list[history.Promotion]:
        """All promotions of a model, oldest first; raises `StoreError` if it has no version."""
        if not self.versions(name):
            raise self.absent(name)
        return history.read(self.root / name)

    def _point(self, home: Path, version: str, why: str = "", by: history.By = "hand") -> None:
        try:
            before = self.current(home.name)
        except StoreError:  # a damaged pointer is replaced
            before = None
        if before is None:
            pointer = Pointer(version=version)
        elif before.version == version:
            return
        else:
            earlier = (*before.history, before.version)[-REMEMBERED:]
            pointer = Pointer(version=version, history=earlier)
        history.record(home, before.version if before else None, version, by, why)
        write_pointer(home, pointer)

    @contextmanager
    def locked(self, name: str, anew: bool = False) -> Iterator[Path]:
        """The directory of a model, which no other process changes meanwhile.

        Raises `StoreError` if it is not there, unless it may be made ``anew``.
        """
        home = self.root / checked(name)
        if not anew and not self.versions(name):
            raise self.absent(name)
        try:
            home.mkdir(parents=True, exist_ok=True)
            with open_to_write(home / LOCK, "wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for leftover in home.glob(f"{STAGING}*"):  # of a run that was killed
                    shutil.rmtree(leftover)
                yield home
        except OSError as error:
            raise StoreError(
                f"{home}: can't be written to ({error.strerror or error}); make room, allow "
                "this user to write there, or choose another --models-dir"
            ) from error

    def absent(self, name: str) -> StoreError:
        """The error for a model that has no version."""
        known = self.names()
        if not known:
            return StoreError(f"{self.root}: {EMPTY}")
        hint = did_you_mean(checked(name), known) or f"; it has {', '.join(known)}"
        return StoreError(f"{self.root}: no model {name!r} in this store{hint}")

    def _without_current(self, name: str, pointer: Pointer | None) -> StoreError:
        known = self.versions(name)
        if not known:
            return self.absent(name)
        trouble = f"lost its current version {pointer.version}" if pointer else "has none current"
        return StoreError(
            f"{self.root}: model {name!r} {trouble}; {_promote(name)}; it has {', '.join(known)}"
        )


def checked(name: str) -> str:
    """The name of a model or version; raises `StoreError` unless it is safe as a directory's."""
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} can't name a model or version: use letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return name


def _promote(name: str) -> str:
    return f"choose a version with `trivet models promote --model {name} VERSION`"


def write_pointer(home: Path, pointer: Pointer) -> None:
    """Replace the pointer at once; the caller holds the lock."""
    write_anew(home / CURRENT, pointer.model_dump_json().encode() + b"\n")
