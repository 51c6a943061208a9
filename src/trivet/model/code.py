"""The Python file that builds a pipeline: sealed into each model, and loaded from there.

A pickle names the module of each class in it. The module of such a file is named by its content,
so that models built by different files can be used side by side, and none is read with other code.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import trivet
from trivet.errors import SettingsError

#: The package's own, which a settings file can replace by another.
DEFAULT = Path(trivet.__file__).with_name("pipeline.py")


class PipelineFile(NamedTuple):
    """A file that builds pipelines, as it was read."""

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path) -> PipelineFile:
        """Read it, and do not run it; raises `SettingsError`."""
        try:
            return cls(path, path.read_bytes())
        except OSError as error:
            in_image = "TRIVET_IMAGE" in os.environ
            mount = ", and mount the file: docker-compose.yml shows how" if in_image else ""
            raise SettingsError(
                f"{path}: can't be read ({error.strerror}); check --pipeline{mount}"
            ) from error

    @property
    def module_name(self) -> str:
        """The name of its module."""
        return f"pipeline_{sha256(self.content).hexdigest()[:16]}"

    def load(self) -> ModuleType:
        """Its module, run once in a process; raises whatever the file raises."""
        if known := sys.modules.get(self.module_name):
            return known
        module = ModuleType(self.module_name)
        module.__file__ = str(self.path)
        sys.modules[self.module_name] = module  # before it runs: dataclasses look themselves up
        try:
            exec(compile(self.content, self.path, "exec"), vars(module))  # noqa: S102 - as sealed as the pickle
        except BaseException:
            del sys.modules[self.module_name]
            raise
        return module
