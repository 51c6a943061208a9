"""The proof that a compiled form gives the answers of the pipeline that it was made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trivet.model.compiled import CompiledPipeline
from trivet.model.fitted import FittedPipeline
from trivet.model.predictor import TOLERANCE
from trivet.rows.arrays import Rows
from trivet.rows.contract import Contract
from trivet.rows.values import UNSEEN
from trivet.train.compile import NotCompilable

#: How many held-out rows are also asked with values changed, and how many one by one.
VARIED_ROWS, ONE_BY_ONE = 500, 50
EXTREME = 1e300


def prove(
    compiled: CompiledPipeline,
    fitted: FittedPipeline,
    contract: Contract,
    rows: Rows,
    answers: Rows,
) -> None:
    """Raise `NotCompilable` unless both forms give the same answers.

    ``answers`` are the pipeline's to these rows, which are the first to be compared. Then both
    predict some of them with values missing where they may be, with unseen categories, and with
    extreme numbers: all at once, and the first of each one by one. Labels must be identical;
    numbers may differ by `TOLERANCE`, relatively.
    """
    _require_equal(compiled, "held-out rows", rows, answers)
    for what, asked in _variants(contract, rows):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                expected = fitted.answers(asked)
        except ValueError:  # scikit-learn refuses numbers so extreme: there is nothing to compare
            continue
        _require_equal(compiled, what, asked, expected)


def _require_equal(compiled: CompiledPipeline, what: str, rows: Rows, expected: Rows) -> None:
    one_by_one = (compiled.answers(row[None]) for row in rows[:ONE_BY_ONE])
    given = np.concatenate([compiled.answers(rows), *one_by_one])
    wanted = np.concatenate([expected, expected[:ONE_BY_ONE]])
    if not np.allclose(given, wanted, rtol=TOLERANCE, atol=0):
        raise NotCompilable(f"other answers to {what}")
    if wanted.ndim == 2 and (given.argmax(axis=1) != wanted.argmax(axis=1)).any():
        raise NotCompilable(f"other labels for {what}")


def _variants(contract: Contract, rows: Rows) -> Iterator[tuple[str, Rows]]:
    some = rows[:VARIED_ROWS]
    nullable = np.array([column.nullable for column in contract.columns])
    draw = np.random.default_rng(0)
    for share in (0.3, 1.0):
        missing = nullable & (draw.random(some.shape) < share)
        yield "rows with missing values", np.where(missing, np.nan, some)
    categories = np.array([column.kind == "category" for column in contract.columns])
    yield "rows with unseen categories", np.where(categories, UNSEEN, some)
    numbers = np.array([column.kind in ("number", "integer") for column in contract.columns])
    for extreme in (-EXTREME, EXTREME):
        yield "rows with extreme numbers", np.where(numbers, extreme, some)
