"""The estimator alone, on rows that are already transformed. Prints the seconds it took."""

import sys
import time

import pandas as pd
from batch_flights import load_pipeline

pipeline = load_pipeline()
estimator = pipeline[-1]
ready = pipeline[:-1].transform(pd.read_parquet(sys.argv[1]))
estimator.predict_proba(ready[:1000])
begun = time.perf_counter()
estimator.predict_proba(ready)
print(time.perf_counter() - begun)
