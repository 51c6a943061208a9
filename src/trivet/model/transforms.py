"""Functions for a `FunctionTransformer`: a pipeline that uses no others can be compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trivet.rows.arrays import Floats


def timestamp_parts(frame: pd.DataFrame) -> Floats:
    """Each timestamp as days since 1970, month, day of week (Monday is 0) and hour, all UTC."""
    parts: list[Any] = []
    for name in frame.columns:
        moment = frame[name].dt
        days = (frame[name].to_numpy() - np.datetime64(0, "us")) / np.timedelta64(1, "D")
        parts += [days, moment.month, moment.day_of_week, moment.hour + moment.minute / 60]
    return np.column_stack([np.asarray(part, dtype=np.float64) for part in parts])


def within_float32(numbers: Floats) -> Floats:
    """Numbers limited to what float32 can hold and sum: forests refuse any beyond that."""
    return np.clip(numbers, -1e30, 1e30)
