"""The output: one file, or a directory with one file per part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from trivet.batch.folder import Folder
from trivet.batch.shards import ShardFormat
from trivet.errors import TableError
from trivet.files import canonical

#: Names of the files in a directory of parts.
PART = re.compile(r"part-\d{5,}\.(csv|parquet)")


@dataclass(frozen=True)
class Output:
    """Where predictions go. ``name`` is its name in messages; ``name/`` asks for a directory."""

    name: str
    address: str
    format: Literal["csv", "parquet"]
    directory: bool

    @classmethod
    def of(cls, text: str) -> Output:
        """The output of an address; raises `TableError` if it cannot be written."""
        directory, address = text.endswith("/"), canonical(text)
        ending = PurePosixPath(address).suffix.lower()
        if directory and ending not in (".csv", ".parquet"):
            ending = ".parquet"
        if ending not in (".csv", ".parquet"):
            raise TableError(
                f"{text}: the file's name must end in .csv or .parquet; a directory of parts is "
                "written with a / at its end"
            )
        if not directory and Path(address).is_dir():
            raise TableError(f"{text}: is a directory; for a directory of parts write {text}/")
        if directory:
            others = [name for name in Folder(address).names() if not PART.fullmatch(name)]
            if others:
                raise TableError(
                    f"{text}: holds {others[0]}, which is not a part of a batch and would be lost; "
                    "choose another directory"
                )
        return cls(text.rstrip("/"), address, "csv" if ending == ".csv" else "parquet", directory)

    def beside(self, ending: str) -> tuple[Folder, str]:
        """The folder and name of a file next to the output: the output's name and an ``ending``."""
        parent, _, name = self.address.rpartition("/")
        return Folder(parent or "/"), name + ending

    @property
    def shard(self) -> ShardFormat:
        """The format of shards, chosen so that joining them is cheap."""
        if self.format == "csv":
            return "csv with header" if self.directory else "csv"
        return "parquet" if self.directory else "arrow"
