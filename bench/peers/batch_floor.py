"""The estimator alone: on arrays that are ready, with nothing read or written. Prints seconds."""

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
