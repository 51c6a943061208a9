"""Places for files: on this machine, or wherever fsspec reaches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from trivet.errors import TableError


def locate(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it; raises `TableError` for an unknown one.

    An address is a path, or a URL such as ``s3://bucket/key``.
    """
    import fsspec  # not in every leg's image
    from fsspec.implementations.local import LocalFileSystem

    if "://" not in address:
        return LocalFileSystem(), os.path.realpath(Path(address).expanduser())
    try:
        system, path = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:  # a scheme that nothing is installed for
        raise TableError(f"{address}: can't be reached: {error}") from error
    return system, os.path.realpath(path) if is_local(system) else path


def is_local(system: Any) -> bool:
    """Whether a file system is this machine's own, with renames and locks."""
    return "file" in system.protocol


def canonical(address: str) -> str:
    """The one name of a place that may have several."""
    system, path = locate(address)
    return path if is_local(system) else str(system.unstrip_protocol(path.rstrip("/")))


def sync(path: Path) -> None:
    """Put a file's content, or a directory's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_to_write(path: Path, mode: str) -> IO[bytes]:
    """Open a file, but not one that a link leads to: anyone may have put that link there."""
    return open(path, mode, opener=lambda *it: os.open(it[0], it[1] | os.O_NOFOLLOW, 0o666))


def write_anew(path: Path, content: bytes) -> None:
    """Replace a file at once: whoever reads it meanwhile gets the old content or the new."""
    aside = path.with_name(f".{path.name}")
    try:
        with open_to_write(aside, "wb") as file:
            file.write(content)
        sync(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)
