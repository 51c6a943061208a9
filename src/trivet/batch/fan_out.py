"""Parts spread over processes of this machine or over a Dask cluster, by the same call."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from trivet.batch.parts import Part
from trivet.batch.staging import WORKERS
from trivet.batch.tally import PartResult
from trivet.batch.work import Job, predict_part
from trivet.errors import BatchError, SettingsError

logger = logging.getLogger("trivet.batch")

#: The most times in a row that a worker may be lost without a part being finished.
MOST_LOSSES = 3


def fan_out(
    job: Job, parts: Callable[[], Iterable[Part]], workers: int, cluster: str | None
) -> Generator[PartResult, None, None]:
    """The results of all parts, in order; ``parts`` lists them again after a worker was lost."""
    done = losses = 0
    here = cluster is None and job.staging.is_local
    predict = partial(_predict_for, os.getpid()) if here else predict_part
    while True:
        try:
            with _backend(job, workers, cluster):
                tasks = (delayed(predict)(job, part) for part in islice(parts(), done, None))
                results: Any = Parallel(return_as="generator", batch_size=1)(tasks)
                try:
                    for result in results:
                        yield result
                        done, losses = done + 1, 0
                finally:
                    with suppress(ValueError):  # it is just being asked for one more
                        tasks.close()
                    with warnings.catch_warnings(
                        action="ignore"
                    ):  # about parts that nobody waits for
                        results.close()
            return
        except TerminatedWorkerError as error:  # killed, perhaps because memory ran out
            losses += 1
            if losses == MOST_LOSSES:
                raise BatchError(
                    f"a worker process was killed {MOST_LOSSES} times at part {done}, as happens "
                    "when memory runs out; give it more memory, fewer --workers or a smaller "
                    "--chunk-rows, and continue with --resume"
                ) from error
            logger.warning(
                "a worker process was killed at part %d, as happens when memory runs out; "
                "trying again",
                done,
            )


@contextmanager
def _backend(job: Job, workers: int, cluster: str | None) -> Iterator[None]:
    if cluster is None:
        # Several processes get one thread each, so as not to compete for cores; one gets them all.
        threads = 1 if workers > 1 else None
        with parallel_config(
            "loky",
            n_jobs=workers,
            inner_max_num_threads=threads,
            initializer=_end_with,
            initargs=(os.getpid(),),
        ):
            logging.getLogger("concurrent.futures").addFilter(_is_not_of_a_lost_worker)
            yield
        return
    from distributed import Client

    try:
        client = Client(cluster, timeout=10)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--cluster {cluster}: no scheduler answers there ({error})") from error
    with client, parallel_config("dask", client=client, scatter=[job], wait_for_workers_timeout=60):
        yield


def _is_not_of_a_lost_worker(record: logging.LogRecord) -> bool:
    """Whether a record of loky's is something else than the loss that `fan_out` deals with."""
    return not (record.exc_info and isinstance(record.exc_info[1], TerminatedWorkerError))


def _predict_for(run: int, job: Job, part: Part) -> PartResult:
    """Predict a part for a run, by the id of its process, in that process or a worker of it.

    The next run to the same output waits until no part is in work. If by then the run was killed,
    this process ends before it begins another.
    """
    with Path(job.staging.path(WORKERS)).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if run != os.getpid() and not _is_running(run):
            os._exit(1)
        return predict_part(job, part)


def _end_with(run: int) -> None:
    """Make this worker end soon after its run, even if that is killed."""

    def watch() -> None:
        while _is_running(run):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_running(run: int) -> bool:
    """Whether the process that this worker was started by, or forked for, still runs."""
    parent = parent_process()
    try:
        return parent is not None and parent.is_alive()
    except ValueError:  # there is no link to it: it has started this worker itself
        return os.getppid() == run
