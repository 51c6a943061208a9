"""What is tried: each trial brings trouble to a service, and tells what came of it."""

from __future__ import annotations

import itertools
import os
import random
import re
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fault_callers import HOST, Callers, LostError, calling, read_answer
from fault_requests import MODEL, Flights, Maker, Request, get, one_row
from fault_service import FOLDER, MODELS, Service, running, wait_for

from trivet.errors import StoreError
from trivet.model.store import ModelStore

CALLERS = 4
#: The most faults that are told; more of them would say the same.
TOLD = 3
#: Seconds after which the services of these trials close what is idle, and give up on a body.
IDLE, DEADLINE = 2, 2
#: How many megabytes the memory may move once the service has warmed up.
FLAT = 8.0
#: Seconds until a worker that hangs is replaced.
HANG = 3


@dataclass
class Found:
    """What came of a trial: how often, what was lost or wrong, and figures.

    ``lost`` are requests that had to be lost; ``faults`` say what should not be.
    """

    often: str
    figures: str
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    def expect(self, right: bool, otherwise: str) -> None:
        if not right:
            self.faults.append(otherwise)

    def add(self, callers: Callers, may_lose: int = 0) -> None:
        """Take over what callers lost, of which so many had to be, and what was wrong."""
        self.expect(callers.count > 0, "no caller was answered")
        self.expect(not callers.wrong, f"{len(callers.wrong)} wrong: {told(callers.wrong)}")
        lost = len(callers.lost)
        if lost > may_lose:
            self.faults.append(f"{lost} lost, {may_lose} expected: {told(callers.lost)}")
        else:
            self.lost += lost


def told(faults: list[str]) -> str:
    """The first of some faults, in short."""
    return "; ".join(fault[:200] for fault in faults[:TOLD])


#: A trial: the flights to ask for, and whether there is time for more.
Trial = Callable[[Flights, bool], Found]


def varied_requests(flights: Flights, full: bool) -> Found:
    """Varied requests, with the memory looked at ten times"""
    count = 500_000 if full else 50_000
    kinds = Maker(flights, random.Random(1))  # noqa: S311 - the same requests each time
    sizes: list[tuple[float, float]] = []
    with running() as service:
        callers = Callers(service.port, kinds.some(count), CALLERS, 8, 30)
        callers.start()
        for turn in range(1, 11):
            wait_for(
                "requests are answered",
                lambda: callers.count + len(callers.lost) >= count * turn // 10,  # noqa: B023
                seconds=300,
            )
            sizes.append(service.memory())
        callers.wait()
    pss, rss = zip(*sizes, strict=True)
    apart = max(pss) - min(pss)
    found = Found(
        f"{count:,} requests of {len(callers.answered)} kinds",
        f"PSS {min(pss):.1f} to {max(pss):.1f} MB, RSS {min(rss):.1f} to {max(rss):.1f} MB",
    )
    found.add(callers)
    found.expect(apart <= FLAT, f"PSS moved by {apart:.1f} MB: {[round(each, 1) for each in pss]}")
    return found


def killed(flights: Flights, full: bool) -> Found:
    """`kill -9` of one of two workers, under load"""
    return _signalled(flights, signal.SIGKILL, 6 if full else 3, CALLERS)


def terminated(flights: Flights, full: bool) -> Found:
    """SIGTERM to one of two workers, under load"""
    return _signalled(flights, signal.SIGTERM, 6 if full else 3, 0)


def interrupted(flights: Flights, full: bool) -> Found:
    """SIGINT to one of two workers, under load"""
    return _signalled(flights, signal.SIGINT, 6 if full else 3, 0)


def stopped(flights: Flights, full: bool) -> Found:
    """SIGSTOP of one of two workers, as one that hangs, under load"""
    times = 3 if full else 1
    return _signalled(flights, signal.SIGSTOP, times, CALLERS, "--hang-timeout", str(HANG))


def both_lost(flights: Flights, full: bool) -> Found:
    """SIGSTOP of one of two workers, then `kill -9` of the other"""
    limit = HANG + 10
    with running("--hang-timeout", str(HANG), workers=2) as service:
        before = service.workers()
        with calling(service.port, one_row(flights), CALLERS, limit) as callers:
            wait_for("callers are answered", lambda: callers.count > 100)
            os.kill(before[0], signal.SIGSTOP)
            time.sleep(1)
            os.kill(before[1], signal.SIGKILL)
            begun, count = time.monotonic(), callers.count
            # A new connection waits at the listener until there is a worker to take it.
            wait_for(
                "callers are answered again", lambda: callers.count > count + 100, seconds=limit
            )
            silent = time.monotonic() - begun
            wait_for("both are replaced", lambda: _replaced(service, before), seconds=limit)
        found = Found("1 time", f"silent for {silent:.1f} s, until the hung one counts as such")
        found.add(callers, CALLERS * 2)
    return found


def slow_readers(flights: Flights, full: bool) -> Found:
    """Callers that never read their answers, and callers that read a little at a time"""
    count = 200 if full else 50
    large = Maker(flights, random.Random(2)).large()  # noqa: S311
    with running("--idle-timeout", str(IDLE)) as service:
        with _connect(service, 65_536) as first:  # starts the process for large bodies
            first.sendall(large.sent)
            faults = _read_slowly([first], large)
        before, _ = service.memory()
        quiet = _connections(service)
        with calling(service.port, one_row(flights)) as callers, ExitStack() as stack:
            never = [stack.enter_context(_connect(service, 4096)) for _ in range(count)]
            for each in never:
                each.sendall(get("/openapi.json") * 100)
            slow = [stack.enter_context(_connect(service, 4096)) for _ in range(20)]
            for each in slow:
                each.sendall(large.sent)
            after, _ = service.memory()
            faults += _read_slowly(slow, large)
            wait_for(
                "they are closed", lambda: _connections(service) <= quiet + CALLERS, seconds=30
            )
        found = Found(f"{count} never, 20 slowly", f"{_per(before, after, count)}")
        found.faults += faults
        found.add(callers)
    return found


def slow_writers(flights: Flights, full: bool) -> Found:
    """Callers that send a head, or a body, a byte a second"""
    count = 200 if full else 50
    request = one_row(flights, 1)[0].sent
    body = request.index(b"\r\n\r\n") + 4
    options = ("--idle-timeout", str(IDLE), "--deadline", str(DEADLINE))
    with running(*options) as service:
        with calling(service.port, one_row(flights)) as callers, ExitStack() as stack:
            heads = [stack.enter_context(_connect(service)) for _ in range(count)]
            bodies = [stack.enter_context(_connect(service)) for _ in range(count)]
            for each in bodies:
                each.sendall(request[:body])
            begun = time.monotonic()
            for turn in range(2 * max(IDLE, DEADLINE) + 2):
                for each, start in [*((one, 0) for one in heads), *((one, body) for one in bodies)]:
                    with suppress(OSError):  # it was closed
                        each.send(request[start + turn : start + turn + 1])
                time.sleep(max(0, begun + turn + 1 - time.monotonic()))
            statuses = [_status(each) for each in bodies]
            left = sum(not _closed(each) for each in [*heads, *bodies])
        found = Found(f"{count} heads, {count} bodies", "heads closed, bodies answered with 408")
        found.expect(left == 0, f"{left} connections are still open")
        found.expect(set(statuses) == {408}, f"bodies were answered with {set(statuses)}")
        found.add(callers)
    return found


def half_heads(flights: Flights, full: bool) -> Found:
    """Connections that stop in the middle of a head, half of them after a request"""
    count = 500 if full else 100
    request = one_row(flights, 1)[0]
    with running("--idle-timeout", str(IDLE)) as service:
        with calling(service.port, one_row(flights)) as callers, ExitStack() as stack:
            half = [stack.enter_context(_connect(service)) for _ in range(count)]
            for turn, each in enumerate(half):
                each.sendall((request.sent if turn % 2 else b"") + request.sent[:30])
            statuses = {_status(each) for each in half[1::2]}
            begun = time.monotonic()
            wait_for("all are closed", lambda: all(map(_closed, half)), seconds=IDLE * 2 + 5)
            took = time.monotonic() - begun
        found = Found(f"{count} connections", f"all closed after {took:.1f} s of idle {IDLE} s")
        found.expect(statuses == {200}, f"requests before them were answered with {statuses}")
        found.add(callers)
    return found


def idle_connections(flights: Flights, full: bool) -> Found:
    """Idle connections, callers beside them"""
    count = 2_000
    with running() as service, ExitStack() as stack:
        with calling(service.port, one_row(flights)) as callers:
            wait_for("callers are answered", lambda: callers.count > 500)
            before, _ = service.memory()
            for _ in range(count):
                stack.enter_context(_connect(service))
            wait_for("all are taken", lambda: _connections(service) >= count)
            answered = callers.count
            wait_for("callers are answered", lambda: callers.count > answered + 500)
            after, _ = service.memory()
        found = Found(f"{count:,} connections", _per(before, after, count))
        found.add(callers)
    return found


def few_files(flights: Flights, full: bool) -> Found:
    """Callers beyond `ulimit -n 64`"""
    count = 200
    request = one_row(flights, 1)[0]
    with running(before="ulimit -n 64") as service:
        with calling(service.port, one_row(flights), patience=30) as callers:
            wait_for("callers are answered", lambda: callers.count > 100)
            with ExitStack() as stack:
                crowd = [stack.enter_context(_connect(service)) for _ in range(count)]
                for each in crowd:
                    each.sendall(request.sent)
                time.sleep(3)
                heard = [each for each in crowd if _poll(each)]
                answered = sum(_status(each) == 200 for each in heard)
            took = wait_for("a new caller is answered", service.answers, seconds=10)
        lines = service.log.read_bytes().count(b"\n")
        found = Found(
            f"{count} callers",
            f"{answered} answered, {len(heard) - answered} closed, {count - len(heard)} waiting; a "
            f"new one answered {took:.1f} s after they left; {lines} lines logged",
        )
        found.expect(lines < 200, f"it logged {lines} lines")
        found.add(callers)
    return found


def full_log(flights: Flights, full: bool) -> Found:
    """stdout on a full disk, with every request logged"""
    disk = _disk("logs", "64k")
    return _logged(flights, full, f"{disk}\nexec > disk-logs/log 2>&1", "disk-logs")


def closed_log(flights: Flights, full: bool) -> Found:
    """stdout closed, with every request logged"""
    return _logged(flights, full, "exec >&-")


def unread_log(flights: Flights, full: bool) -> Found:
    """stdout a pipe that nobody reads, with every request logged"""
    pipe = "mkfifo disk-logs/pipe; exec 9<> disk-logs/pipe > disk-logs/pipe 2>&1"
    return _logged(flights, full, f"{_disk('logs', '64k')}\n{pipe}")


def full_metrics(flights: Flights, full: bool) -> Found:
    """The disk of the metrics full, then `kill -9` of each worker in turn"""
    some = [
        request
        for request in Maker(flights, random.Random(3)).some(500)  # noqa: S311
        if not request.closes
    ]
    before = f"{_disk('metrics', '1m')}\nexport TMPDIR=$PWD/disk-metrics"
    with running(before=before, workers=2) as service:
        with calling(service.port, some, patience=30) as callers:
            wait_for("callers are answered", lambda: callers.count > 500)
            _fill(service, "disk-metrics")
            filled = callers.count
            wait_for("callers are answered", lambda: callers.count > filled + 1_000)
            killed = service.workers()
            for worker in killed:
                os.kill(worker, signal.SIGKILL)
                count, time_to_start = callers.count, 5
                time.sleep(time_to_start)
                wait_for("callers are answered", lambda: callers.count > count + 500)  # noqa: B023
            now = service.workers()
            time.sleep(2)
            stay = service.workers() == now and len(now) == 2 and not set(now) & set(killed)
        found = Found("2 times", f"{callers.count:,} answers of all kinds; both replaced")
        found.expect(stay, f"of {killed} came {now}, then {service.workers()}")
        found.add(callers, CALLERS * 2)
    return found


def full_store(flights: Flights, full: bool) -> Found:
    """The disk of the models full while a version is promoted"""
    before = f"{_disk('store', '8m')}\ncp -r {MODELS}/. disk-store"
    store_of = ["--models-dir", "disk-store", "--reload-every", "0.1"]
    versions = list(flights.late)
    with running(*store_of, before=before) as service:
        store = ModelStore(service.inside / str(FOLDER / "disk-store").lstrip("/"))
        other = next(each for each in versions if each != flights.current)
        with calling(service.port, one_row(flights)) as callers:
            wait_for("callers are answered", lambda: callers.count > 100)
            filler = _fill(service, "disk-store")
            try:
                store.promote(MODEL, other)
                refused = "promoted"
            except StoreError as error:
                refused = re.findall(r"\((.*)\)", str(error))[0]
            time.sleep(0.5)
            kept = store.in_use(MODEL)
            filler.unlink()
            store.promote(MODEL, other)
            wait_for("the other answers", lambda: other.encode() in service.get("/model"))
        found = Found(
            "1 time", f"the promotion failed with {refused!r}, and worked with room again"
        )
        found.expect(kept == flights.current, f"{kept} is current, {refused}")
        found.add(callers)
    return found


def promotions(flights: Flights, full: bool) -> Found:
    """Promotions of two versions in turn, 50 ms apart, each answer compared with its version's"""
    count = 500 if full else 100
    store = ModelStore(FOLDER / "promoted")
    shutil.rmtree(store.root, ignore_errors=True)
    shutil.copytree(MODELS, store.root)
    options = ("--models-dir", str(store.root), "--reload-every", "0.02")
    with running(*options) as service:
        with calling(service.port, one_row(flights)) as callers:
            for version in itertools.islice(itertools.cycle(reversed(list(flights.late))), count):
                store.promote(MODEL, version)
                time.sleep(0.05)
            last = version.encode()
            wait_for("the last answers", lambda: last in service.get("/model"))
        page = service.get("/metrics").decode()
        loaded, failed = (
            int(float(page.partition(f'trivet_reloads_total{{outcome="{each}"}} ')[2].split()[0]))
            for each in ("loaded", "failed")
        )
        found = Found(f"{count:,} promotions", f"{loaded:,} loaded, {callers.count:,} answers")
        found.expect(failed == 0, f"{failed} versions were not loaded")
        found.add(callers)
    return found


TRIALS: list[Trial] = [
    *(varied_requests, promotions, killed, terminated, interrupted, stopped, both_lost),
    *(slow_readers, slow_writers, half_heads, idle_connections, few_files),
    *(full_log, closed_log, unread_log, full_metrics, full_store),
]


def _signalled(
    flights: Flights, number: signal.Signals, times: int, may_lose: int, *options: str
) -> Found:
    seconds: list[float] = []
    with running(*options, workers=2) as service:
        with calling(service.port, one_row(flights), patience=HANG + 10) as callers:
            for _ in range(times):
                count, before = callers.count, service.workers()
                wait_for("callers are answered", lambda: callers.count > count + 200)  # noqa: B023
                os.kill(before[0], number)
                replaced = partial(_replaced, service, before[:1])
                seconds.append(wait_for("it is replaced", replaced, seconds=90))
        found = Found(
            f"{times} time{'s' if times > 1 else ''}",
            f"replaced and ready after {min(seconds):.1f} to {max(seconds):.1f} s, "
            f"{callers.count:,} answers",
        )
        found.add(callers, may_lose * times)
    return found


def _replaced(service: Service, gone: list[int]) -> bool:
    now = service.workers()
    return not set(gone) & set(now) and len(now) == 2 and service.ready_workers() == 2


def _logged(flights: Flights, full: bool, before: str, disk: str = "") -> Found:
    """Ask a service that logs every request; a disk fills up meanwhile."""
    count = 20_000 if full else 4_000
    with running("--access-log", before=before) as service:
        with calling(service.port, one_row(flights)) as callers:
            wait_for("callers are answered", lambda: callers.count > count // 4)
            if disk:
                _fill(service, disk)
            wait_for("callers are answered", lambda: callers.count > count, seconds=120)
        found = Found(f"{count:,} requests", "")
        found.add(callers)
    return found


def _disk(name: str, size: str) -> str:
    """The shell's way to a small disk that only the service sees, ``disk-NAME`` in its folder."""
    (FOLDER / f"disk-{name}").mkdir(exist_ok=True)
    return f"set -e; mount -t tmpfs -o size={size} tmpfs disk-{name}"


def _fill(service: Service, name: str) -> Path:
    filler = service.inside / str(FOLDER / name).lstrip("/") / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@contextmanager
def _connect(service: Service, room: int = 0) -> Iterator[socket.socket]:
    """A connection, with so much room for what is not read."""
    with socket.socket() as caller:
        if room:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        caller.settimeout(30)
        caller.connect((HOST, service.port))
        yield caller


def _connections(service: Service) -> int:
    """How many sockets the service has open."""
    return sum(map(Path.is_socket, Path(f"/proc/{service.process.pid}/fd").iterdir()))


def _read_slowly(slow: list[socket.socket], request: Request) -> list[str]:
    """What is wrong with answers that are read 2 kB at a time."""
    parts: dict[socket.socket, bytes] = dict.fromkeys(slow, b"")
    reading = set(slow)
    while reading:
        for each in list(reading):
            piece = each.recv(2048)
            parts[each] += piece
            if not piece or _whole(parts[each]):
                reading.remove(each)
        time.sleep(0.05)
    faults = []
    for whole in parts.values():
        content = whole.partition(b"\r\n\r\n")[2]
        faults += filter(None, [request.check(content)])
    return faults


def _whole(answer: bytes) -> bool:
    head, _, content = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(length) and len(content) >= int(length)


def _status(caller: socket.socket) -> int:
    """The status of the next answer; 0 if there is none."""
    with caller.makefile("rb") as answers:
        try:
            return read_answer(answers)[0]
        except (OSError, LostError):
            return 0


def _closed(caller: socket.socket) -> bool:
    """Whether the service has closed a connection; what it sent before is read."""
    try:
        while _poll(caller):
            if not caller.recv(65_536):
                return True
    except OSError:
        return True
    return False


def _poll(caller: socket.socket) -> list[tuple[int, int]]:
    """Whether there is something to read; select itself can't take so many connections."""
    poll = select.poll()
    poll.register(caller, select.POLLIN)
    return poll.poll(0)


def _per(before: float, after: float, count: int) -> str:
    return f"{(after - before) * 1000 / count:.1f} kB each (PSS {before:.1f}, then {after:.1f} MB)"
