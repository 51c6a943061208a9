"""Training by a plain script: pandas reads the table, scikit-learn fits the same pipeline."""

import sys

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier", "origin", "dest"]

source, target = sys.argv[1:]
flights = pd.read_csv(source, parse_dates=["time_hour"]).drop(columns="flight_id")
cut = flights["time_hour"].quantile(0.8)
fitted, held_out = flights[flights["time_hour"] <= cut], flights[flights["time_hour"] > cut]
columns = [name for name in flights if name not in ("late", "time_hour")]
numbers = [name for name in columns if name not in CATEGORIES]
codes = OrdinalEncoder(
    max_categories=255, handle_unknown="use_encoded_value", unknown_value=float("nan")
)
pipeline = make_pipeline(
    make_column_transformer((codes, CATEGORIES), ("passthrough", numbers)),
    HistGradientBoostingClassifier(categorical_features=[0, 1, 2], random_state=0),
)
pipeline.fit(fitted[columns], fitted["late"])
score = roc_auc_score(held_out["late"], pipeline.predict_proba(held_out[columns])[:, 1])
joblib.dump(pipeline, target)
print(f"roc_auc {score:.6f}")
