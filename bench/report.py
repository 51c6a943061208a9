"""The report of `bench/online.py` in Markdown: figures, goals, how each contestant was run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import astuple, dataclass

from contestants import BARE, CONTESTANTS, EMPTY, FLOOR_NAMES, PEER_NAMES, TRIVET, Contestant
from environments import versions
from figures import GOALS, Goal, apart, medians, short


@dataclass(frozen=True)
class Figures:
    """The figures of one contestant; NaN for one that it does not have."""

    rate: float
    p50: float
    p99: float
    alone: float
    rows: float
    ready: float
    pss: float
    rss: float


NOTHING = Figures(*[math.nan] * 8)


def goals(found: dict[str, Figures], further: float) -> list[Goal]:
    own, empty, bare = (found.get(name, NOTHING) for name in (TRIVET, EMPTY, BARE))
    name, peer = best_peer(found, lambda peer: peer.rate)
    rows_name, rows_peer = best_peer(found, lambda peer: peer.rows)
    return [
        Goal("requests/s / empty FastAPI endpoint", 3.3, True, own.rate / empty.rate),
        Goal("requests/s / bare ASGI", 0.85, True, own.rate / bare.rate),
        Goal(f"requests/s / best peer ({name})", 25, True, own.rate / peer.rate),
        Goal(f"p99 / best peer ({name})", 1 / 40, False, own.p99 / peer.p99),
        Goal("p50 at 1 connection / empty FastAPI endpoint", 0.9, False, own.alone / empty.alone),
        Goal(f"rows/s / best peer ({rows_name})", 4, True, own.rows / rows_peer.rows),
        Goal("seconds to ready / empty FastAPI endpoint", 1.3, False, own.ready / empty.ready),
        Goal("MB (PSS) of one worker", 70, False, own.pss),
        Goal("MB (PSS) of each further worker", 50, False, further),
    ]


def best_peer(found: dict[str, Figures], figure: Callable[[Figures], float]) -> tuple[str, Figures]:
    """The peer with the largest figure, of those that have it."""
    peers = [name for name in PEER_NAMES if not math.isnan(figure(found.get(name, NOTHING)))]
    best = max(peers, key=lambda name: figure(found[name]), default="none measured")
    return best, found.get(best, NOTHING)


def render(
    runs: dict[str, list[Figures]], errors: list[str], further: list[float], setting: str
) -> str:
    found = {name: medians(rounds) for name, rounds in runs.items() if rounds}
    measured = [contestant for contestant in CONTESTANTS if contestant.name in runs]
    lines = [
        "# Online inference",
        "",
        setting,
        "",
        "| contestant | requests/s at 32 | p50 ms | p99 ms | p50 ms at 1 connection | "
        "rows/s of 1,000-row requests | seconds to ready | MB resident (PSS) | MB (RSS) |",
        f"|---|{'---:|' * 8}",
        *(table_row(name, found.get(name)) for name in runs),
        "",
        f"`{'`, `'.join(FLOOR_NAMES)}` predict nothing. Only servers of the flights model get a "
        "load of 1,000-row requests. Seconds to ready are from the start of the process to its "
        "first answer. Memory is the sum over all processes of a server, after the load: RSS "
        "counts a shared page in each process, PSS divides it among them. "
        f"{spread(runs)}",
    ]
    if errors:
        lines += ["", "Rounds that failed and are not counted:", ""]
        lines += [f"- {error}" for error in errors]
    lines += ["", *GOALS]
    added = statistics.median(further) if further else math.nan
    lines += [goal.row for goal in goals(found, added)]
    lines += ["", "| contestant | how it was run |", "|---|---|"]
    lines += [f"| {linked(contestant)} | {contestant.how} |" for contestant in measured]
    lines += [
        "",
        "Each peer has its own environment, with the scikit-learn, numpy and pandas that the model "
        "was fitted with, and with uvloop and httptools even if it does not install them itself. "
        "All compute on one thread.",
        "",
        "| environment | versions |",
        "|---|---|",
    ]
    for environment in dict.fromkeys(contestant.environment for contestant in measured):
        lines.append(f"| {environment or 'trivet'} | {versions(environment)} |")
    return "\n".join(lines) + "\n"


def spread(runs: dict[str, list[Figures]]) -> str:
    """The contestant whose rounds are furthest apart, as a sentence."""
    rates = {name: [each.rate for each in rounds] for name, rounds in runs.items() if rounds}
    shares = {name: apart(some) for name, some in rates.items()}
    widest = max(shares, key=shares.__getitem__, default="no contestant")
    share = shares.get(widest, 0)
    return f"Between rounds, requests/s differed most for `{widest}`: by {share:.0%}."


def table_row(name: str, figures: Figures | None) -> str:
    cells = [*map(short, astuple(figures))] if figures else ["error"] * 8
    return f"| {name} | {' | '.join(cells)} |"


def linked(contestant: Contestant) -> str:
    source = contestant.source
    return f"[{contestant.name}](../peers/{source})" if source else contestant.name
