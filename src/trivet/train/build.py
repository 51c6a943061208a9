"""From the file that builds pipelines to an unfitted pipeline."""

from __future__ import annotations

import inspect
from typing import Any

import cloudpickle

from trivet.errors import SettingsError
from trivet.model.code import PipelineFile
from trivet.rows.contract import Contract
from trivet.train.settings import TrainSettings
from trivet.train.weights import class_weight


def build(file: PipelineFile, contract: Contract, settings: TrainSettings) -> Any:
    """The unfitted pipeline that the file builds for the contract; raises `SettingsError`.

    Its `build_pipeline` is given those settings that it has parameters for.
    """
    build_pipeline = _function(file)
    signature = inspect.signature(build_pipeline)
    taken = signature.parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    params = dict(settings.params)
    if class_weight(contract.target, params) is not None:
        del params["class_weight"]  # it is given to the rows
    wanted = {"estimator": settings.estimator, "features": settings.features, "params": params}
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    for name in given:
        if name not in taken and not takes_all:
            option = "param" if name == "params" else name
            raise SettingsError(
                f"{file.path}: build_pipeline takes no {name!r}, so --{option} has no effect; "
                "leave it out, here and in the settings file, or add the parameter"
            )
    if "seed" in taken or takes_all:
        given["seed"] = settings.seed
    try:
        signature.bind(contract, **given)
    except TypeError as error:
        raise SettingsError(
            f"{file.path}: build_pipeline{signature} can't be called ({error}); give it the "
            "parameter contract first, and any other a default"
        ) from error
    pipeline = build_pipeline(contract, **given)
    if not hasattr(pipeline, "fit") or isinstance(pipeline, type):
        raise SettingsError(
            f"{file.path}: build_pipeline returned {pipeline!r}; return a scikit-learn pipeline"
        )
    if contract.target.task == "classification" and not hasattr(pipeline, "predict_proba"):
        raise SettingsError(
            "the estimator has no predict_proba; in a pipeline file of your own, wrap it in "
            "CalibratedClassifierCV"
        )
    return pipeline


def _function(file: PipelineFile) -> Any:
    try:
        module = file.load()
    except SystemExit as error:
        raise SettingsError(
            f"{file.path}: it ends the process when it is imported; call nothing that does so, or "
            'only below if __name__ == "__main__":'
        ) from error
    except (ImportError, OSError, SyntaxError) as error:
        raise SettingsError(
            f"{file.path}: can't be imported ({error}); install what it imports, or move that into "
            "this file"
        ) from error
    if not callable(found := getattr(module, "build_pipeline", None)):
        raise SettingsError(f"{file.path}: no function build_pipeline in it")
    cloudpickle.register_pickle_by_value(module)  # joblib's processes can't import it by name
    return found
