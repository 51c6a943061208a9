"""Ray Data: the pipeline loaded once by each actor of a pool, which gets pandas batches."""

import sys

import ray
from batch_flights import TYPES, answer, load_pipeline


class Flights:
    def __init__(self):
        self.pipeline = load_pipeline()

    def __call__(self, batch):
        return answer(self.pipeline, batch.astype(TYPES))


source, target = sys.argv[1:]
is_csv = source.endswith(".csv")
flights = ray.data.read_csv(source) if is_csv else ray.data.read_parquet(source)
answers = flights.map_batches(Flights, batch_format="pandas")
if is_csv:
    answers.write_csv(target)
else:
    answers.write_parquet(target)
