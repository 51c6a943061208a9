"""Micro-batches: what waits is predicted together, and everybody gets what is theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.conftest import NOVEMBER, encoded
from trivet.errors import RecordsRejected
from trivet.model.artifact import Artifact
from trivet.model.predictor import Predictions, Predictor
from trivet.online.batcher import ROWS_TOGETHER, Batcher, ThreadBatcher
from trivet.rows.arrays import Rows

Make = Callable[[Predictor, Callable[[Rows], None]], Batcher]


@pytest.fixture(params=["on the loop", "in a thread"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    if request.param == "on the loop":
        yield Batcher
    else:
        with ThreadPoolExecutor(1) as executor:
            yield partial(ThreadBatcher, thread=executor)


@pytest.fixture(scope="module")
def rows(predictor: Predictor) -> list[list[float]]:
    rows: list[list[float]] = encoded(NOVEMBER, predictor.contract).tolist()
    return rows[:600]


def together(batcher: Batcher, requests: list[list[list[float]]]) -> list[Any]:
    """What comes of requests that arrive at once: predictions, or an error."""

    async def ask() -> list[Any]:
        return await asyncio.gather(*map(batcher.predict, requests), return_exceptions=True)

    return asyncio.run(ask())


def watched() -> tuple[list[int], Callable[[Rows], None]]:
    sizes: list[int] = []
    return sizes, lambda batch: sizes.append(len(batch))


def test_requests_of_one_moment_are_one_batch(
    predictor: Predictor, rows: list[list[float]], make: Make
) -> None:
    sizes, observe = watched()
    requests = [rows[0:1], rows[1:3], [], rows[3:10]]
    answers = together(make(predictor, observe), requests)
    assert sizes == [10]
    alone = predictor.predict(np.array(rows[:10]))
    assert alone.probabilities is not None
    assert np.concatenate([each.probabilities for each in answers]) == pytest.approx(
        alone.probabilities, rel=1e-12
    )
    assert [len(each.values) for each in answers] == [1, 2, 0, 7]
    assert [label for each in answers for label in each.values] == alone.values


def test_a_lone_request_is_a_batch_of_its_own(
    predictor: Predictor, rows: list[list[float]], make: Make
) -> None:
    sizes, observe = watched()
    batcher = make(predictor, observe)

    async def ask() -> None:
        for row in rows[:5]:
            await batcher.predict([row])

    asyncio.run(ask())
    assert sizes == [1] * 5


def test_a_batch_is_not_too_long(predictor: Predictor, rows: list[list[float]], make: Make) -> None:
    sizes, observe = watched()
    requests = [rows[:300], *([row] for row in rows[300:])]
    answers = together(make(predictor, observe), requests)
    assert [len(each.values) for each in answers] == [300] + [1] * 300
    assert sizes == [300, ROWS_TOGETHER, 300 - ROWS_TOGETHER]


def test_a_row_without_a_finite_answer_is_an_error_of_its_request_alone(
    predictor: Predictor, rows: list[list[float]], make: Make
) -> None:
    class Overflowing:
        def answers(self, given: Rows) -> Rows:
            found = predictor.model.answers(given)
            found[given[:, 0] == 1e300] = np.nan
            return found

    far = [[1e300, *rows[1][1:]]]
    batcher = make(Predictor(predictor.contract, Overflowing()), lambda _: None)
    first, second, third = together(batcher, [rows[:1], far, rows[2:3]])
    assert isinstance(first, Predictions)
    assert isinstance(third, Predictions)
    assert isinstance(second, RecordsRejected)
    assert second.faults[0].row == 0  # of its own request, not of the batch


def test_unexpected_trouble_reaches_those_that_it_concerns(
    predictor: Predictor, rows: list[list[float]], make: Make
) -> None:
    class Failing:
        def answers(self, given: Rows) -> Rows:
            raise RuntimeError("no answer")

    batcher = make(Predictor(predictor.contract, Failing()), lambda _: None)
    assert [str(each) for each in together(batcher, [rows[:1], rows[1:2]])] == ["no answer"] * 2


def test_who_gave_up_is_left_out(predictor: Predictor, rows: list[list[float]], make: Make) -> None:
    sizes, observe = watched()
    batcher = make(predictor, observe)

    async def ask() -> Predictions:
        impatient = asyncio.create_task(batcher.predict(rows[:5]))
        patient = asyncio.create_task(batcher.predict(rows[5:6]))
        await asyncio.sleep(0)  # both are waiting now
        impatient.cancel()
        return await patient

    assert len(asyncio.run(ask()).values) == 1
    assert sizes == [1]


def test_what_arrives_while_a_pipeline_predicts_is_the_next_batch(
    uncompiled: Artifact, rows: list[list[float]]
) -> None:
    sizes, observe = watched()
    with ThreadPoolExecutor(1) as thread:
        batcher = ThreadBatcher(Predictor.load(uncompiled), observe, thread)

        async def ask() -> None:
            first = asyncio.create_task(batcher.predict(rows[:1]))
            await asyncio.sleep(0.001)
            await asyncio.gather(first, *(batcher.predict([row]) for row in rows[1:20]))

        asyncio.run(ask())
    assert sum(sizes) == 20
    assert len(sizes) == 2
