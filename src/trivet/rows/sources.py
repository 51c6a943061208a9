"""The files that an address stands for, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, TypeVar

from trivet.errors import TableError
from trivet.files import is_local, locate

Format = Literal["csv", "jsonl", "parquet", "arrow"]
Compression = Literal["gzip", "zstd"]

T = TypeVar("T")

STANDARD, STANDARD_INPUT = "-", "standard input"
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
#: The first bytes that tell the format of standard input, which has no name.
FORMAT_MAGIC: dict[bytes, Format] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",  # a stream
    b"{": "jsonl",
}
COMPRESSION_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Source:
    """One file of rows. ``name`` is its name in messages, ``stamp`` changes with its content.

    Of a stream, which can be read only once, ``spooled`` says that this is a copy.
    """

    name: str
    address: str
    format: Format
    compression: Compression | None
    size: int
    stamp: str
    spooled: bool = False

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The file's bytes, still compressed; raises `TableError` if it cannot be read."""
        import pyarrow as pa  # slow to import, and training that is up to date reads no table

        try:
            system, path = locate(self.address)
            with system.open(path, "rb") as stream:
                yield stream
        except (OSError, EOFError, pa.ArrowException) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise TableError(f"{self.name}: can't be read as {self.format}: {reason}") from error

    def decompressed(self, stream: BinaryIO) -> Any:
        """The text in a stream of compressed bytes; the stream itself if it is not compressed."""
        import pyarrow as pa

        if self.compression is None:
            return stream
        return pa.CompressedInputStream(pa.PythonFile(stream, "r"), self.compression)

    @property
    def delimiter(self) -> str:
        """What separates the cells of a CSV by default: a comma, or in a .tsv a tab."""
        return "\t" if ".tsv" in PurePosixPath(self.name.lower()).suffixes[-2:] else ","

    def digest(self) -> str:
        """SHA-256 of the file's bytes; raises `TableError` if it cannot be read."""
        system, path = locate(self.address)
        try:  # not `open`: a model that is up to date should not take the import of pyarrow
            with system.open(path, "rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise TableError(f"{self.name}: can't be read ({error.strerror or error})") from error

    def check_unchanged(self) -> None:
        """Raise `TableError` if the file has changed since it was found."""
        if self.spooled:
            return
        system, path = locate(self.address)
        system.invalidate_cache()
        facts = None
        with suppress(OSError):  # it may have vanished
            facts = _facts(system.info(path))
        if (self.size, self.stamp) != facts:
            raise TableError(
                f"{self.name}: changed while it was read, so nothing was written; read it once it "
                "is complete, or a copy of it"
            )


def find_sources(address: str, spool: Path) -> list[Source]:
    """The files of an address, sorted by name: a file, a glob, or all files below a directory.

    ``-`` is standard input. That, or a pipe with a name, is copied to ``spool`` so that any part
    can be read again. Raises `TableError`.
    """
    if address == STANDARD:
        if sys.stdin is None:
            raise TableError(f"{STANDARD_INPUT}: is closed; name a file, or pipe one in")
        return [_spooled(STANDARD_INPUT, sys.stdin.buffer, spool)]
    if Path(address).is_fifo():
        with Path(address).open("rb") as stream:
            return [_spooled(address, stream, spool)]
    system, path = locate(address)
    local = is_local(system)
    try:
        found = _files(system, path, local)
        folder = system.isdir(path)
    except Exception as error:  # each store has errors of its own, such as for credentials
        if local and not isinstance(error, OSError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TableError(f"{address}: can't be read: {reason}") from error
    if not found:
        reason = "holds no table" if folder else "no such file; check the path"
        raise TableError(f"{address}: {reason}")
    sources = []
    for path, info in found:
        if any("\udc80" <= sign <= "\udcff" for sign in path):
            raise TableError(f"{path!r}: the name of the file is not UTF-8; rename it")
        name = _shown(path) if local else system.unstrip_protocol(path)
        address = path if local else name
        sources.append(Source(name, address, *_format_of(name), *_facts(info)))
    return sources


def _spooled(name: str, stream: BinaryIO, spool: Path) -> Source:
    try:
        with spool.open("w+b") as file:
            shutil.copyfileobj(stream, file, 2**20)
            file.seek(0)
            compression = _by_magic(COMPRESSION_MAGIC, file.read(8))
    except OSError as error:
        raise TableError(
            f"{name}: can't be copied to {spool.parent} ({error.strerror}); name a file"
        ) from error
    source = Source(name, str(spool), "csv", compression, spool.stat().st_size, "", spooled=True)
    with source.open() as stream:
        beginning = source.decompressed(stream).read(64).removeprefix(BOM_UTF8).lstrip()
    kind = _by_magic(FORMAT_MAGIC, beginning) or "csv"
    return replace(source, format=kind, stamp=source.digest())


def _by_magic(choices: dict[bytes, T], beginning: bytes) -> T | None:
    return next((found for magic, found in choices.items() if beginning.startswith(magic)), None)


def _files(system: Any, path: str, local: bool) -> list[tuple[str, dict[str, Any]]]:
    """Paths with what is known of each, sorted; without names that start with ``.`` or ``_``."""
    if system.isfile(path):
        return [(path, system.info(path))]
    if system.isdir(path):
        if local:  # `find` leaves out folders that cannot be read
            for _ in os.walk(path, onerror=_raise):
                pass
        named, found = path, system.find(path, detail=True)
    else:
        plain = re.split(r"[*?[]", path)[0]
        named = plain.rpartition("/")[0]
        found = system.glob(path, detail=True) if plain != path else {}
    return sorted(
        (file, info)
        for file, info in found.items()
        if info["type"] == "file" and not re.search("/[._]", f"/{file[len(named) :]}")
    )


def _raise(error: OSError) -> None:
    raise error


def _shown(path: str) -> str:
    """A local path as a user in the working directory would write it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _format_of(name: str) -> tuple[Format, Compression | None]:
    """Format and compression by a file's name; raises `TableError` if it is not a known one."""
    path = PurePosixPath(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    ending = path.with_suffix("").suffix if compression else path.suffix
    if ending not in FORMATS or (compression and FORMATS[ending] not in ("csv", "jsonl")):
        raise TableError(
            f"{name}: the file's name must end in {', '.join(FORMATS)}; after text, .gz or "
            ".zst may follow"
        )
    return FORMATS[ending], compression


def _facts(info: dict[str, Any]) -> tuple[int, str]:
    """Size in bytes, and what else changes when a file does."""
    stamp = info.get("mtime") or info.get("ETag") or info.get("LastModified") or ""
    return info["size"], str(stamp)
