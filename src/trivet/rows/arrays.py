"""Types of the arrays that hold rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Any array of float64.
Floats = NDArray[np.float64]
#: Encoded rows, (rows x features), as `trivet.rows.values` defines them; or one column, (rows,).
Rows = Floats
#: Rows of numbers as they come: lists where there are few, which are then faster, or an array.
Table = list[list[float]] | Floats
#: Encoded rows as they come.
EncodedRows = Table
#: True for the rows that are meant, (rows,).
Mask = NDArray[np.bool_]
