"""The arrays that rows are handed on in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Any array of float64.
Floats = NDArray[np.float64]
#: Encoded rows, (rows x features), as `trivet.rows.values` defines them; or one column, (rows,).
Rows = Floats
#: Which rows, (rows,).
Mask = NDArray[np.bool_]
