"""The report of `bench/batch.py` in Markdown: figures, goals, and how each contestant was run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter

from batch_contestants import (
    CHUNKS,
    CONTESTANTS,
    CSV,
    DASK,
    FLOOR,
    MLFLOW,
    NAIVE,
    PARQUET,
    RAY,
    READING,
    TRIVET,
    Case,
    Contestant,
)
from environments import versions
from figures import GOALS, Goal, apart, medians, short

BOOSTING, LOGISTIC = "flights", "flights-logistic"
TITLES = {BOOSTING: "HistGradientBoosting", LOGISTIC: "logistic regression"}
CLUSTER = "trivet-cluster"
#: Rows of the smallest table that Trivet predicts, to show how it scales.
SMALL = 1_000_000
SHOWN = ("mlflow", "dask", "ray", "scikit-learn", "numpy", "scipy", "pandas", "pyarrow")
COLUMNS = "rows/s | seconds | MB resident (RSS) | MB (PSS) | rounds apart |"
LINE = f"|---|{'---:|' * 5}"


@dataclass(frozen=True)
class Figures:
    """The figures of one run; one that is not ``in_time`` was ended after ``seconds``."""

    rows: float
    seconds: float
    rss: float = math.nan
    pss: float = math.nan
    in_time: bool = True

    @property
    def rate(self) -> float:
        """Rows per second; an upper bound if the run was not in time."""
        return self.rows / self.seconds


Runs = dict[tuple[str, Case], list[Figures]]


def render(runs: Runs, errors: list[str], rows: int, large: int, setting: str) -> str:
    lines = ["# Batch inference", "", setting]
    for model, title in TITLES.items():
        for ending in (CSV, PARQUET):
            lines += comparison(runs, Case(model, rows, ending), title)
    lines += [
        "",
        f"`{FLOOR}` neither reads nor writes: it is the floor. `{READING}` predicts nothing. "
        "Seconds are from the start of a process to its end. Trivet's include the time until the "
        "answers are safely on disk, which no peer waits for. Memory is the peak of the sum over a "
        "process and all its descendants: RSS, sampled every 0.05 s, counts a shared page in each "
        "process; PSS, sampled every 0.5 s, divides it among them. The labels of each run were "
        "those of naive pandas, and its probabilities within 1e-9 of them.",
    ]
    sizes = sorted({SMALL, rows, large} - {0})
    lines += growth(runs, sizes) + beside_cluster(runs, rows)
    if errors:
        lines += ["", "Runs that failed and are not counted:", ""]
        lines += [f"- {error}" for error in errors]
    lines += ["", *GOALS, *(goal.row for goal in goals(runs, rows, sizes))]
    return "\n".join([*lines, *how(runs)]) + "\n"


def comparison(runs: Runs, case: Case, title: str) -> list[str]:
    """The table of all contestants in one case."""
    rows = [
        f"| {name} | {' | '.join(cells(rounds))} |"
        for (name, other), rounds in runs.items()
        if other == case and name != CLUSTER
    ]
    if not rows:
        return []
    heading = f"## {title}, {case.ending.replace(CSV, 'CSV').replace(PARQUET, 'Parquet')}"
    return ["", heading, "", f"| contestant | {COLUMNS}", LINE, *rows]


def cells(rounds: Sequence[Figures]) -> list[str]:
    """Rate, seconds, memory and spread, as text."""
    if not rounds:
        return ["error"] * 5
    figures = summary(rounds)
    rate, seconds = short(figures.rate), short(figures.seconds)
    if not figures.in_time:
        rate, seconds = f"< {rate}", f"> {seconds}"
    spread = f"{apart([each.seconds for each in rounds]):.0%}" if len(rounds) > 1 else "-"
    return [rate, seconds, short(figures.rss), short(figures.pss), spread]


def summary(rounds: Sequence[Figures]) -> Figures:
    """The medians, or the first round that was not in time."""
    late = [figures for figures in rounds if not figures.in_time]
    return late[0] if late else medians(rounds)


def growth(runs: Runs, sizes: Sequence[int]) -> list[str]:
    """The table of Trivet with more and more rows."""
    rows = [
        f"| {size:,}, {ending} | {' | '.join(cells(runs[TRIVET, case]))} |"
        for ending in (CSV, PARQUET)
        for size in sizes
        if (TRIVET, case := Case(BOOSTING, size, ending)) in runs
    ]
    heading = f"## Trivet with more rows, {TITLES[BOOSTING]}"
    return ["", heading, "", f"| rows | {COLUMNS}", LINE, *rows] if rows else []


def beside_cluster(runs: Runs, rows: int) -> list[str]:
    """The table of Trivet on a cluster, and without it."""
    table = [
        f"| {name}, {ending} | {' | '.join(cells(runs[name, case]))} |"
        for ending in (CSV, PARQUET)
        for name in (TRIVET, CLUSTER)
        if (name, case := Case(BOOSTING, rows, ending)) in runs
    ]
    if not any(name == CLUSTER for name, _ in runs):
        return []
    text = (
        f"`{CLUSTER}` runs with `--cluster`: a `dask scheduler` and two `dask worker --no-nanny` "
        "with one thread each, on the same machine. Their memory is included."
    )
    heading = f"## Trivet on a cluster, {TITLES[BOOSTING]}"
    return ["", heading, "", text, "", f"| contestant | {COLUMNS}", LINE, *table]


def goals(runs: Runs, rows: int, sizes: Sequence[int]) -> list[Goal]:
    found = {key: summary(rounds) for key, rounds in runs.items() if rounds}

    def ratios(other: str, of: Callable[[Figures], float], *endings: str) -> list[float]:
        """Trivet's figure divided by another's; the floor has the same for both endings."""
        nothing = Figures(math.nan, math.nan)
        return [
            of(found.get((TRIVET, Case(BOOSTING, rows, ending)), nothing))
            / of(found.get((other, Case(BOOSTING, rows, given)), nothing))
            for ending in endings or (CSV, PARQUET)
            for given in [PARQUET if other == FLOOR else ending]
        ]

    rate, memory = attrgetter("rate"), attrgetter("pss")
    own = [
        [found.get((TRIVET, Case(BOOSTING, size, ending))) for size in sizes]
        for ending in (CSV, PARQUET)
    ]
    grown = [[figures for figures in each if figures] for each in own if all(each)]
    slower = [min(map(rate, each)) / max(map(rate, each)) for each in grown]
    steady = [min(some) / max(some) for some in map(paces, grown) if some]
    larger = [max(map(memory, each)) - min(map(memory, each)) for each in grown]
    return [
        Goal("rows/s from Parquet / estimator alone", 0.75, True, *ratios(FLOOR, rate, PARQUET)),
        Goal("rows/s from CSV / estimator alone", 0.6, True, *ratios(FLOOR, rate, CSV)),
        Goal("rows/s / naive pandas", 3, True, least(ratios(NAIVE, rate))),
        Goal("rows/s / pandas in chunks", 3, True, least(ratios(CHUNKS, rate))),
        Goal("rows/s from CSV / MLflow", 2, True, *ratios(MLFLOW, rate, CSV)),
        Goal("rows/s / Ray Data", 2, True, least(ratios(RAY, rate))),
        Goal("rows/s / Dask", 2, True, least(ratios(DASK, rate))),
        Goal("MB (PSS) / naive pandas", 0.2, False, largest(ratios(NAIVE, memory))),
        Goal(f"slowest / fastest rows/s, {between(sizes)}", 0.9, True, least(slower)),
        Goal(f"the same without start and end, {between(sizes)}", 0.9, True, least(steady)),
        Goal(f"growth of MB (PSS), {between(sizes)}", 50, False, largest(larger)),
    ]


def paces(sizes: Sequence[Figures]) -> list[float]:
    """Rows per second from each size to the next, which leaves out start and end of a process."""
    return [
        (more.rows - less.rows) / (more.seconds - less.seconds)
        for less, more in pairwise(sizes)
        if more.seconds > less.seconds
    ]


def between(sizes: Sequence[int]) -> str:
    return f"from {min(sizes):,} to {max(sizes):,} rows"


def least(some: Sequence[float]) -> float:
    """The smallest number that was measured; NaN if there is none."""
    return min((each for each in some if not math.isnan(each)), default=math.nan)


def largest(some: Sequence[float]) -> float:
    return -least([-each for each in some])


def how(runs: Runs) -> list[str]:
    """How each contestant was run, and the versions in its environment."""
    names = {name for name, _ in runs}
    measured = [contestant for contestant in CONTESTANTS if contestant.name in names]
    which = f"The goals are for {TITLES[BOOSTING]}, and for the worse of CSV and Parquet."
    lines = ["", which]
    lines += ["", "| contestant | how it was run |", "|---|---|"]
    lines += [f"| {linked(contestant)} | {contestant.how} |" for contestant in measured]
    lines += ["", "| environment | versions |", "|---|---|"]
    for environment in dict.fromkeys(contestant.environment for contestant in measured):
        lines.append(f"| {environment or 'trivet'} | {versions(environment, SHOWN)} |")
    return lines


def linked(contestant: Contestant) -> str:
    source = contestant.source
    return f"[{contestant.name}](../peers/{source})" if source else contestant.name
