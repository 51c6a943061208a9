"""A folder whose files appear whole or not at all, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from trivet.errors import TableError
from trivet.files import is_local, locate, sync


@dataclass(frozen=True)
class Folder:
    """A folder by its address. It can be pickled."""

    address: str

    @cached_property
    def _reached(self) -> tuple[Any, str]:
        return locate(self.address)

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine."""
        return is_local(self._reached[0])

    def path(self, name: str = "") -> str:
        """The path of a file within its file system."""
        return f"{self._reached[1].rstrip('/')}/{name}".rstrip("/")

    def create(self) -> None:
        """Create the folder and its parents."""
        self._reached[0].makedirs(self.path(), exist_ok=True)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A stream to a file, which appears once it is complete and on the disk."""
        system, path = self._reached[0], self.path(name)
        if not self.is_local:  # an object appears when it is closed
            with system.open(path, "wb") as stream:
                yield stream
            return
        aside = Path(self.path(f".{name}.{os.getpid()}"))
        try:
            with aside.open("wb") as stream:
                yield stream
            sync(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def reading(self, name: str) -> Any:
        """A stream of a file's bytes."""
        return self._reached[0].open(self.path(name), "rb")

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if there is no such file."""
        with suppress(FileNotFoundError), self.reading(name) as stream:
            return bytes(stream.read())
        return None

    def size(self, name: str) -> int:
        """A file's size in bytes, or -1 if there is no such file."""
        with suppress(FileNotFoundError):
            return int(self._reached[0].info(self.path(name))["size"])
        return -1

    def names(self) -> list[str]:
        """Names of the files and folders in it, sorted; none if it does not exist."""
        system = self._reached[0]
        system.invalidate_cache()
        with suppress(FileNotFoundError):
            return sorted(path.rsplit("/", 1)[-1] for path in system.ls(self.path(), detail=False))
        return []

    def move(self, name: str, target: Folder, as_name: str) -> None:
        """Move a file or a folder to another folder of the same file system.

        Locally this is one rename; an object store copies file by file.
        """
        system, path = self._reached[0], target.path(as_name)
        if self.is_local:
            Path(self.path(name)).replace(path)
        else:
            system.invalidate_cache()  # workers have written here since it was listed
            for file in system.find(self.path(name)):
                system.cp_file(file, path + file.removeprefix(self.path(name)))
            self.remove(name)

    def remove(self, name: str = "") -> None:
        """Remove a file, or a folder with all its content, if it exists."""
        system = self._reached[0]
        system.invalidate_cache()
        with suppress(FileNotFoundError):
            system.rm(self.path(name), recursive=True)


@contextmanager
def writing_to(name: str) -> Iterator[None]:
    """Turn an error of the block into a `TableError` that names what is being written."""
    try:
        yield
    except BrokenPipeError:  # whoever reads it has seen enough
        raise
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        room = "; make room, and continue with --resume" if full else ""
        raise TableError(f"{name}: can't be written ({reason}){room}") from error
