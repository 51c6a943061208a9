"""What is called in another process gives what it would give here."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from trivet.errors import Fault, RecordsRejected
from trivet.online.other_process import OtherProcess
from trivet.online.problems import ProblemError


@pytest.fixture
def process() -> Iterator[OtherProcess]:
    process = OtherProcess(patience=60)
    yield process
    process.close()


def refuse(status: HTTPStatus, detail: str) -> None:
    raise ProblemError(status, detail, {"Retry-After": "1"}, "overload")


def reject(fault: Fault) -> None:
    raise RecordsRejected([fault])


def test_a_function_runs_elsewhere_in_one_process(process: OtherProcess) -> None:
    assert process.call(os.getpid) == process.call(os.getpid) != os.getpid()


def test_a_large_argument_and_a_large_result_arrive_whole(process: OtherProcess) -> None:
    body = bytearray(os.urandom(4_000_000))
    assert process.call(bytes, body) == body


def test_a_problem_arrives_with_all_that_it_says(process: OtherProcess) -> None:
    with pytest.raises(ProblemError, match="try later") as raised:
        process.call(refuse, HTTPStatus.SERVICE_UNAVAILABLE, "try later")
    problem = raised.value
    assert (problem.status, problem.headers, problem.reason) == (
        503,
        {"Retry-After": "1"},
        "overload",
    )


def test_rejected_records_arrive_with_their_faults(process: OtherProcess) -> None:
    fault = Fault(row=3, field="month", code="type", expected="a whole number")
    with pytest.raises(RecordsRejected) as raised:
        process.call(reject, fault)
    assert raised.value.faults == (fault,)


def test_unexpected_trouble_arrives_with_its_traceback(process: OtherProcess) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ValueError: invalid literal"):
        process.call(int, "x")
    assert process.call(int, "1") == 1


def test_an_argument_that_cannot_be_sent_does_not_end_the_process(process: OtherProcess) -> None:
    before = process.call(os.getpid)
    with pytest.raises(Exception, match="pickle"):
        process.call(bool, lambda: None)
    assert process.call(os.getpid) == before


def test_it_outlives_the_signals_that_tell_its_worker_to_stop(process: OtherProcess) -> None:
    before = process.call(os.getpid)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(before, number)
    assert process.call(os.getpid) == before


def test_it_outlives_them_while_it_starts(process: OtherProcess) -> None:
    process._process = process._start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(process._process.pid, number)
    assert process.call(os.getpid) == process._process.pid


def test_one_that_hangs_is_ended_and_the_next_call_starts_another() -> None:
    process = OtherProcess(patience=2)
    before = process.call(os.getpid)
    os.kill(before, signal.SIGSTOP)
    with pytest.raises(ProblemError, match="died"):
        process.call(bytes, bytearray(4_000_000))
    assert process.call(os.getpid) != before
    process.close()


def test_it_gives_way_to_its_worker(process: OtherProcess) -> None:
    assert process.call(os.nice, 0) > os.nice(0)
