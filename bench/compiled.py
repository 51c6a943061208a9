"""Measure how much faster the compiled flights model is than the pipeline it was made from.

    make bench-compiled

Both predict the same flights in turn, in one process on one thread; their medians are compared.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before scikit-learn is imported: threads would blur the ratio

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from rows import csv_rows

from trivet.model.compiled import CompiledPipeline
from trivet.model.fitted import to_frame
from trivet.model.store import ModelStore

NOVEMBER = Path("data/flights_november.csv")
#: Rows per call, calls per turn, and the share of the pipeline's time to stay below.
SIZES = [(1, 50, 1 / 40), (32, 30, 1 / 8), (1000, 5, None)]
TURNS = 7


def main() -> None:
    """Print a Markdown table of medians in microseconds per call."""
    artifact = ModelStore(Path("models")).artifact("flights")
    contract, pipeline = artifact.manifest.contract, artifact.load_pipeline()
    compiled = CompiledPipeline.load(artifact.verify())
    rows = csv_rows(NOVEMBER, contract)
    print("| rows per call | pipeline, us | compiled, us | ratio | goal |")
    print("|---:|---:|---:|---:|---:|")
    for size, calls, goal in SIZES:
        some = rows[:size]
        frame = to_frame(some, contract)
        slow, fast = in_turn(
            lambda frame=frame: pipeline.predict_proba(frame),
            lambda some=some: compiled.answers(some),
            calls,
        )
        wanted = f"1/{1 / goal:.0f}" if goal else ""
        print(
            f"| {size:,} | {slow * 1e6:,.0f} | {fast * 1e6:,.1f} | 1/{slow / fast:.0f} | {wanted} |"
        )


def in_turn(
    slow: Callable[[], object], fast: Callable[[], object], calls: int
) -> tuple[float, float]:
    """Median seconds per call of each, measured in turn."""
    measured: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for call, times in zip((slow, fast), measured, strict=True):
            started = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - started) / calls)
    return statistics.median(measured[0]), statistics.median(measured[1])


if __name__ == "__main__":
    main()
