"""The processes of a service, as the system lists them."""

from __future__ import annotations

from pathlib import Path


def workers_of(process: int) -> list[int]:
    """The processes that a service's parent has started and that answer: spawned, not helpers."""
    return [pid for pid in _children(process) if b"spawn_main" in command(pid)]


def other_processes(worker: int) -> set[int]:
    """The process that a worker has started for large bodies, if there is one."""
    return {pid for pid in _children(worker) if b"trivet.online.other_process" in command(pid)}


def command(pid: int) -> bytes:
    """The command line of a process; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").glob("*/children")  # any thread may have started them
    return [int(pid) for task in tasks for pid in task.read_text().split()]
