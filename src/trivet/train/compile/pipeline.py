"""A fitted pipeline as a whole: features, then estimator."""

from __future__ import annotations

from sklearn.pipeline import Pipeline

from trivet.model.compiled import CompiledPipeline
from trivet.rows.contract import Contract
from trivet.train.compile.estimators import compile_estimator
from trivet.train.compile.features import compile_features


def compile_pipeline(pipeline: Pipeline, contract: Contract) -> CompiledPipeline:
    """The compiled form of a pipeline as `trivet.pipeline` builds it; raises `NotCompilable`."""
    return compile_estimator(pipeline[-1], compile_features(pipeline[:-1], contract))
