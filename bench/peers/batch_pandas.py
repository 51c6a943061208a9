"""Naive pandas: the whole table at once."""

import sys

import pandas as pd
from batch_flights import TYPES, answer, load_pipeline

source, target = sys.argv[1:]
pipeline = load_pipeline()
if source.endswith(".csv"):
    flights = pd.read_csv(source, dtype=TYPES)
    answer(pipeline, flights).to_csv(target, index=False)
else:
    flights = pd.read_parquet(source)
    answer(pipeline, flights).to_parquet(target, index=False)
