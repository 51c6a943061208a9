"""A fitted pipeline as bytes, proven to give the same answers when it is loaded."""

from __future__ import annotations

import io
import sys
from pickle import PicklingError
from types import FunctionType
from typing import Any

import joblib
from joblib.numpy_pickle import NumpyPickler

from trivet.errors import TrainingError
from trivet.model.artifact import GoldenRows
from trivet.model.code import PipelineFile
from trivet.model.fitted import FittedPipeline
from trivet.model.predictor import Predictor
from trivet.rows.contract import Contract


def save(pipeline: Any, code: PipelineFile) -> bytes:
    """A fitted pipeline, pickled; ``code`` built it. Raises `TrainingError`."""
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, code).dump(pipeline)
    except (PicklingError, TypeError) as error:
        raise TrainingError(
            f"the fitted pipeline can't be saved ({error}); use no lambda in it, and no function "
            "or class that is defined inside a function"
        ) from error
    return buffer.getvalue()


def prove_saved(saved: bytes, code: PipelineFile, contract: Contract, golden: GoldenRows) -> None:
    """Raise `TrainingError` unless what was saved would give the golden answers in another process.

    Such a process runs the code and fits nothing with it; so it is run again here, as a new module.
    """
    ours = sys.modules.pop(code.module_name)
    try:
        code.load()
        loaded = joblib.load(io.BytesIO(saved))
        Predictor(contract, FittedPipeline(contract, loaded)).replay(golden)
    except Exception as error:
        what = str(error).partition(": the model does not")[0]
        raise TrainingError(
            f"the pipeline does not give the same answers when it is loaded ({what}); keep what is "
            "fitted in attributes, not in globals, and draw nothing at random when predicting"
        ) from error
    finally:
        sys.modules[code.module_name] = ours


class _Pickler(NumpyPickler):
    """Saves a function that came back from joblib's processes, a copy, by the name it has."""

    def __init__(self, buffer: io.BytesIO, code: PipelineFile) -> None:
        super().__init__(buffer)
        self._module = code.load()

    def save(self, value: Any) -> None:
        """Add a value to the pickle."""
        if isinstance(value, FunctionType) and value.__module__ == self._module.__name__:
            value = getattr(self._module, value.__qualname__, value)
        super().save(value)
