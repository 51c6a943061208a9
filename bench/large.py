"""Measure how long callers with one row wait while others send bodies of the largest size.

    make bench-large
    .venv/bin/python bench/large.py --rounds 1 --seconds 3

One worker serves the flights model on one core; wrk asks from another: 8 callers with
one row each, then 4 callers with 10,000 rows each, then all of them at once. What counts are the
ratios, within each round, of the last to the first two. Needs Linux, two cores and wrk.
"""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import click
from cases import case_of
from contestants import CACHE, CLIENT_CORE, FLIGHTS, trivet
from figures import GOALS, Goal, medians, short
from online import write_body
from servers import Server, serving

SMALL, LARGE, ROWS = 8, 4, 10_000
WARM_UP = 2


@dataclass(frozen=True)
class Figures:
    """One load alone and beside the other: small callers' milliseconds, all callers' requests/s.

    ``pss`` is the service's megabytes before the first large body, and at the end.
    """

    p50: float
    p50_beside: float
    p99: float
    p99_beside: float
    small: float
    small_beside: float
    large: float
    large_beside: float
    pss: float
    pss_after: float


def measure(server: Server, one: Path, many: Path, seconds: int) -> Figures:
    server.load("/predict", one, SMALL, WARM_UP)
    pss, _ = server.memory()
    small = server.load("/predict", one, SMALL, seconds)
    server.load("/predict", many, LARGE, WARM_UP)
    large = server.load("/predict", many, LARGE, seconds)
    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(server.load, "/predict", many, LARGE, seconds)
        beside = server.load("/predict", one, SMALL, seconds)
        large_beside = others.result().rate
    pss_after, _ = server.memory()
    return Figures(
        *(small.p50, beside.p50, small.p99, beside.p99, small.rate, beside.rate),
        *(large.rate, large_beside, pss, pss_after),
    )


def goals(rounds: list[Figures]) -> list[Goal]:
    def ratio(beside: str, alone: str) -> float:
        return statistics.median(getattr(one, beside) / getattr(one, alone) for one in rounds)

    return [
        Goal(
            "p50 of small callers beside large ones / alone", 3, False, ratio("p50_beside", "p50")
        ),
        Goal(
            "p99 of small callers beside large ones / alone", 3, False, ratio("p99_beside", "p99")
        ),
        Goal(
            "large bodies/s beside small ones / alone", 0.15, True, ratio("large_beside", "large")
        ),
    ]


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--seconds", default=5, show_default=True, type=click.IntRange(1), help="Seconds per load."
)
def main(rounds: int, seconds: int) -> None:
    """Measure small callers beside large ones."""
    case, contestant = case_of(FLIGHTS), trivet()
    for folder in ("bodies", "logs"):
        (CACHE / folder).mkdir(parents=True, exist_ok=True)
    one = write_body(contestant, case.rows[:1])
    many = write_body(contestant, (case.rows * (ROWS // len(case.rows) + 1))[:ROWS])
    os.sched_setaffinity(0, {CLIENT_CORE})  # this process must not use the server's core either
    found = []
    print(f"{many.stat().st_size:,} bytes a large body")
    for number in range(1, rounds + 1):
        with serving(contestant, case.model) as server:
            server.first_answer("/predict", one)
            found.append(measure(server, one, many, seconds))
        print(f"round {number}: {' | '.join(map(short, astuple(found[-1])))}", flush=True)
    print(" | ".join(field.name for field in fields(Figures)))
    print(" | ".join(map(short, astuple(medians(found)))))
    print("\n".join([*GOALS, *(goal.row for goal in goals(found))]))


if __name__ == "__main__":
    main()
