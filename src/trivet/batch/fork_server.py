"""A server that worker processes are forked from, once it has imported what they need."""

from __future__ import annotations

import os
import signal
from multiprocessing import forkserver
from pathlib import Path

#: A file with fewer bytes has work for one worker alone, whatever its format.
ONE_WORKER = 4 * 2**20
#: What keeps BLAS and the allocator of Arrow from starting threads. Workers inherit it: with more
#: than a thread each, they would compete for the processors.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def start_fork_server(source: str) -> None:
    """Start the server, unless the ``source`` of the rows is a small file; it ends by itself.

    It has one thread and predicts nothing, so it can be forked safely. It is for the command alone:
    a worker imports the main module once more, which a script that calls `trivet.api` need not
    expect. There, and where no temporary file can be made, joblib starts each worker anew.
    """
    if Path(source).is_file() and Path(source).stat().st_size < ONE_WORKER:
        return
    environment = os.environ.copy()
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # this process ends its workers
    forkserver.set_forkserver_preload(["trivet.batch.fan_out"])
    try:
        os.environ.update(ONE_THREAD)
        forkserver.ensure_running()
    except OSError:
        return
    finally:
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, interrupt)
    from joblib.externals.loky.backend.context import set_start_method

    set_start_method("forkserver", force=True)
