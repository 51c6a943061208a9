"""Processes of the benchmarks: run, measured with all their descendants, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 20
MB = 1_000_000
PAGE = os.sysconf("SC_PAGE_SIZE")
#: Seconds between samples of memory. PSS less often: the kernel visits every page for it.
RSS_SECONDS, PSS_SECONDS = 0.05, 0.5


class FailedError(Exception):
    """A process can't be measured: it did not start, failed, or gave a wrong answer."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended by itself or, if ``in_time`` is false, was killed at the limit.

    ``rss`` and ``pss`` are the largest sums sampled over it and all its descendants, in megabytes.
    """

    seconds: float
    rss: float
    pss: float
    in_time: bool


def run(
    command: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    log: Path,
    limit: float,
    beside: Iterable[int] = (),
) -> Ended:
    """Run a command, for at most ``limit`` seconds; raises `FailedError` if it fails.

    ``beside`` are processes that work for it but are not its descendants.
    """
    with log.open("wb") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch = _Watch(process.pid, limit, beside)
        watch.start()
        try:
            status = process.wait()
            seconds = time.perf_counter() - begun
        finally:
            watch.end()
    if status and watch.in_time:
        raise FailedError(f"ended with {status}: {last_words(log)}")
    return Ended(seconds, watch.rss / MB, watch.pss / MB, watch.in_time)


class _Watch(threading.Thread):
    """Records the peak memory of a process and its descendants; kills them at the limit."""

    def __init__(self, pid: int, limit: float, beside: Iterable[int]) -> None:
        super().__init__(daemon=True)
        self.pid, self.beside = pid, tuple(beside)
        self.deadline = time.perf_counter() + limit
        self.rss = self.pss = 0
        self.in_time = True
        self.seen = {pid}
        self._over = threading.Event()

    def run(self) -> None:
        next_pss = 0.0
        while not self._over.wait(RSS_SECONDS):
            own = descendants(self.pid)
            # A process that was just forked shows its parent's memory until it runs its program.
            settled = self.seen.intersection(own)
            self.seen.update(own)
            pids = [*settled, *(each for pid in self.beside for each in descendants(pid))]
            self.rss = max(self.rss, sum(map(resident, pids)))
            now = time.perf_counter()
            if now > next_pss:
                self.pss = max(self.pss, sum(share for share, _ in map(shares, pids)))
                next_pss = now + PSS_SECONDS
            if now > self.deadline:
                self.in_time = False
                kill(own)
                return

    def end(self) -> None:
        """Stop watching, and kill the descendants that the process left running."""
        self._over.set()
        self.join()
        kill(pid for pid in self.seen if _leader(pid) in self.seen)


def memory(pid: int) -> tuple[float, float]:
    """Megabytes of the process and all its descendants: PSS, and RSS."""
    each = [shares(pid) for pid in descendants(pid)]
    return sum(pss for pss, _ in each) / MB, sum(rss for _, rss in each) / MB


def shares(pid: int) -> tuple[int, int]:
    """PSS and RSS of one process, in bytes; 0 if it has just ended."""
    sums = {"Pss:": 0, "Rss:": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, kilobytes, *_ = line.split()
            if name in sums:
                sums[name] += int(kilobytes) * 1024
    return sums["Pss:"], sums["Rss:"]


def resident(pid: int) -> int:
    """RSS of one process, in bytes, from a cheaper source; 0 if it has just ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0


def descendants(pid: int) -> list[int]:
    """A process, its children, their children and so on."""
    found = [pid]
    with suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += descendants(int(child))
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, wait, and send SIGKILL to what is left of its process group."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
        deadline = time.perf_counter() + 2  # for children that end a moment later
        while time.perf_counter() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    except subprocess.TimeoutExpired:
        pass
    except ProcessLookupError:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def last_words(log: Path) -> str:
    """The last line of a process's output that is not empty."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _leader(pid: int) -> int | None:
    """The session of a process: it tells whether the id still belongs to the process seen."""
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return None
