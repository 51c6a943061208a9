"""The processes of a service, as the system lists them."""

from __future__ import annotations

from pathlib import Path


def workers_of(process: int) -> list[int]:
    """The processes that answer, which are forked for a service's parent."""
    return [pid for server in fork_servers(process) for pid in _children(server)]


def fork_servers(process: int) -> list[int]:
    """The process that forks the workers of a service's parent, if there is one."""
    return [pid for pid in _children(process) if b"forkserver" in command(pid)]


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
