"""A fitted pipeline as a whole: features, then estimator."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline

from trivet.model.compiled import CompiledPipeline
from trivet.rows.contract import Contract
from trivet.train.compile import NotCompilable
from trivet.train.compile.estimators import compile_estimator
from trivet.train.compile.features import compile_features


def compile_pipeline(pipeline: Any, contract: Contract) -> CompiledPipeline:
    """The compiled form of a pipeline as `trivet.pipeline` builds it; raises `NotCompilable`."""
    if not isinstance(pipeline, Pipeline):
        raise NotCompilable(f"{type(pipeline).__name__}: not a pipeline of features and estimator")
    return compile_estimator(pipeline[-1], compile_features(pipeline[:-1], contract))
