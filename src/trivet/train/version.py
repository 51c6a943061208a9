"""The name of a version: a digest of everything that shapes a model, and of nothing else."""

from __future__ import annotations

import ast
import hashlib
import json
from importlib.metadata import version as installed_version
from pathlib import Path

from pydantic import JsonValue

import trivet
from trivet.errors import SettingsError
from trivet.model.code import PipelineFile

#: The parts of the package that shape a model, and the modules in them that do not.
SHAPING = ("pipeline.py", "rows", "model", "train")
NOT_SHAPING = (
    *(f"model/{name}.py" for name in ("care", "history", "keys", "store", "trust")),
    "train/report.py",
)


def inputs_digest(
    data: str, settings: dict[str, JsonValue], pipeline: PipelineFile, libraries: dict[str, str]
) -> str:
    """SHA-256 of the data's digest, the settings, the code, and the library versions."""
    inputs = {
        "data": data,
        "settings": settings,
        "code": code_digest(Path(trivet.__file__).parent),
        "pipeline": _code(pipeline.content, str(pipeline.path)),
        "libraries": libraries | {"pyarrow": installed_version("pyarrow")},
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def code_digest(package: Path) -> str:
    """SHA-256 of the code that shapes a model, without its comments and docstrings."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0] in SHAPING and place.as_posix() not in NOT_SHAPING:
            code = _code(path.read_bytes(), place.as_posix())
            digest.update(f"{place.as_posix()}\0{code}\0".encode())
    return digest.hexdigest()


def _code(source: bytes, name: str) -> str:
    """Source as text in which comments, docstrings and layout make no difference."""
    try:
        return ast.dump(_without_docstrings(ast.parse(source)))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise SettingsError(f"{name}{line}: {error.msg}") from error


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        match node:
            case ast.Module(body=body) | ast.ClassDef(body=body) | ast.FunctionDef(body=body):
                if (
                    body
                    and isinstance(body[0], ast.Expr)
                    and isinstance(body[0].value, ast.Constant)
                ):
                    del body[0]
    return tree
