"""A table as the rows that a model is asked with."""

from __future__ import annotations

from pathlib import Path

import pyarrow.csv

from trivet.rows.arrays import Rows
from trivet.rows.columns import encode_columns
from trivet.rows.contract import Contract


def csv_rows(path: Path, contract: Contract) -> Rows:
    """The rows of a CSV, (rows x features)."""
    table = pyarrow.csv.read_csv(path)
    cells = {name: table.column(name) for name in table.column_names}
    return encode_columns(cells, contract, table.num_rows)
