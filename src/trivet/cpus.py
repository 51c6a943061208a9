"""How many processors this process may use: a container's share, not the whole machine.

scikit-learn's own threads respect that share; those of the BLAS library under NumPy do not.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

CGROUP = Path("/sys/fs/cgroup")
#: How many worker processes: a number, or one per processor.
Workers = int | Literal["auto"]


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """The processors this process may run on, or its cgroup's quota if that is less; at least 1."""
    available = getattr(os, "sched_getaffinity", None)  # absent on macOS
    count = len(available(0)) if available else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # v2, v1
        try:
            quota, period = (int(n) for file in files for n in (cgroup / file).read_text().split())
        except (OSError, ValueError):  # no such cgroup, or "max": no quota
            continue
        if quota > 0:  # -1: no quota
            return min(count, math.ceil(quota / period))
    return count


def worker_count(workers: Workers) -> int:
    """The number of worker processes that a setting stands for."""
    return cpu_limit() if workers == "auto" else workers


def limit_threads(count: int) -> None:
    """Limit each thread pool to ``count`` threads; has no effect once NumPy is imported.

    A limit that the user has set stays.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(count))
