"""Dask: the pipeline mapped over the partitions of a DataFrame, with the default scheduler."""

import sys

import dask.dataframe as dd
from batch_flights import TYPES, answer, load_pipeline

source, target = sys.argv[1:]
pipeline = load_pipeline()
is_csv = source.endswith(".csv")
if is_csv:
    flights = dd.read_csv(source, dtype=TYPES)
else:
    flights = dd.read_parquet(source, split_row_groups=True)  # else it may be one partition
answers = flights.map_partitions(
    lambda partition: answer(pipeline, partition), meta=answer(pipeline, flights.head(1)).iloc[:0]
)
if is_csv:
    answers.to_csv(f"{target}/*.csv", index=False)
else:
    answers.to_parquet(target, write_index=False)
