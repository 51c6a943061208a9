"""Reading alone: pyarrow loads the table into memory, on all cores."""

import sys

import pyarrow.csv
import pyarrow.parquet

source = sys.argv[1]
read = pyarrow.csv.read_csv if source.endswith(".csv") else pyarrow.parquet.read_table
read(source)
