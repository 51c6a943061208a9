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

from trivet.errors import StoreError, did_you_mean
from trivet.files import sync
from trivet.model.artifact import MANIFEST, Artifact
from trivet.rows.contract import Frozen

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: The store, and the model in it, if nothing else is said.
DEFAULT_DIRECTORY, DEFAULT_MODEL = Path("models"), "model"
EMPTY = "no model in this store; train one first: trivet train"
CURRENT, LOCK, STAGING = "current", ".lock", ".staging-"


class Pointer(Frozen):
    """The current version, and those that were current before it, newest last."""

    version: str
    history: tuple[str, ...] = ()


class ModelStore:
    """A directory of models. Reading needs no lock and no write access."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

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
            return Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise StoreError(
                f"{path}: not a readable pointer; replace it with "
                f"`trivet models promote --model {name} VERSION`"
            ) from error

    def in_use(self, name: str) -> str:
        """The current version of a model; raises `StoreError` if there is none."""
        pointer = self.current(name)
        if pointer is None:
            raise StoreError(self._no_model(name))
        return pointer.version

    def artifact(self, name: str, version: str | None = None) -> Artifact:
        """One version of a model, the current one by default; raises `StoreError`."""
        version = version or self.in_use(name)
        path = self.root / checked(name) / checked(version)
        if not path.is_dir():
            known = ", ".join(self.versions(name)) or "none: train it first"
            raise StoreError(
                f"{self.root}: model {name!r} has no version {version!r}; it has {known}"
            )
        return Artifact.open(path)

    def publish(
        self, name: str, version: str, write: Callable[[Path], None], promote: bool = True
    ) -> bool:
        """Publish a version at once: ``write`` fills a staging directory, which is then renamed.

        A version is never replaced: if it is there already, this changes nothing and returns False.
        """
        with self._locked(name) as home:
            for leftover in home.glob(f"{STAGING}*"):  # of a killed run: a live one holds the lock
                shutil.rmtree(leftover)
            staging, final = home / f"{STAGING}{checked(version)}", home / version
            if final.exists():
                return False
            staging.mkdir()
            write(staging)
            for path in (*staging.iterdir(), staging):
                sync(path)
            staging.rename(final)
            sync(home)
            if promote:
                self._point(home, version)
        return True

    def promote(self, name: str, version: str) -> None:
        """Make a version the current one, after checking its files."""
        self.artifact(name, version).verify_files()
        with self._locked(name) as home:
            self._point(home, version)

    def rollback(self, name: str) -> str:
        """Make the version that was current before the current one again, and return it."""
        self.in_use(name)  # raises before a directory is made for a model that is not there
        with self._locked(name) as home:
            pointer, known = self.current(name), self.versions(name)
            earlier = [each for each in pointer.history if each in known] if pointer else []
            if not earlier:
                raise StoreError(
                    f"{self.root}: model {name!r} has no earlier version to roll back to; choose "
                    "a version with `trivet models promote`"
                )
            *history, version = earlier
            self.artifact(name, version).verify_files()
            _write_pointer(home, Pointer(version=version, history=tuple(history)))
        return version

    def _point(self, home: Path, version: str) -> None:
        try:
            before = self.current(home.name)
        except StoreError:  # a damaged pointer is replaced
            before = None
        if before is None:
            _write_pointer(home, Pointer(version=version))
        elif before.version != version:
            history = (*before.history, before.version)
            _write_pointer(home, Pointer(version=version, history=history))

    @contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        home = self.root / checked(name)
        try:
            home.mkdir(parents=True, exist_ok=True)
            with (home / LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield home
        except OSError as error:
            raise StoreError(
                f"{home}: can't be written to ({error.strerror or error}); make room, allow "
                "this user to write there, or choose another --models-dir"
            ) from error

    def _no_model(self, name: str) -> str:
        known = self.names()
        if not known:
            return f"{self.root}: {EMPTY}"
        hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
        return f"{self.root}: no model {name!r} in this store{hint}"


def checked(name: str) -> str:
    """The name of a model or version; raises `StoreError` unless it is safe as a directory's."""
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} can't name a model or version: use letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return name


def _write_pointer(home: Path, pointer: Pointer) -> None:
    aside = home / f".{CURRENT}"
    aside.write_text(pointer.model_dump_json() + "\n", encoding="utf-8")
    sync(aside)
    aside.replace(home / CURRENT)
    sync(home)
