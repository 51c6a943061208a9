"""MLflow: the pipeline as an MLflow model, with the signature that its docs advise."""

import json
import os
import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature

target, example = sys.argv[1:]
pipeline = joblib.load(os.environ["MODEL"])
flights = pd.DataFrame(json.loads(Path(example).read_text()))
mlflow.sklearn.save_model(
    pipeline,
    target,
    signature=infer_signature(flights, pipeline.predict_proba(flights)),
    pyfunc_predict_fn="predict_proba",
    serialization_format="cloudpickle",
)
