"""pandas in chunks, for a table that does not fit into memory."""

import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from batch_flights import TYPES, answer, load_pipeline

ROWS = 100_000


def predict_csv(pipeline, source, target):
    for number, chunk in enumerate(pd.read_csv(source, dtype=TYPES, chunksize=ROWS)):
        first = number == 0
        answer(pipeline, chunk).to_csv(
            target, mode="w" if first else "a", header=first, index=False
        )


def predict_parquet(pipeline, source, target):
    writer = None
    for batch in pq.ParquetFile(source).iter_batches(ROWS):
        answers = pa.Table.from_pandas(answer(pipeline, batch.to_pandas()), preserve_index=False)
        writer = writer or pq.ParquetWriter(target, answers.schema)
        writer.write_table(answers)
    writer.close()


if __name__ == "__main__":
    source, target = sys.argv[1:]
    predict = predict_csv if source.endswith(".csv") else predict_parquet
    predict(load_pipeline(), source, target)
