"""The queue's contract: each key once, never two workers on one key, failures later and later."""

import asyncio

import pytest

from torchserve_operator.kube.queue import KeyedQueue


async def test_a_key_that_is_added_twice_is_taken_once() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_only_afterwards() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    await queue.take()
    queue.add("a")
    assert len(queue) == 0
    assert not queue.idle
    queue.done("a")
    assert await queue.take() == "a"


async def test_a_waiting_worker_wakes_up_for_a_key() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    taker = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(taker, 1) == "a"


async def test_each_failure_waits_longer_up_to_the_ceiling() -> None:
    queue: KeyedQueue[str] = KeyedQueue(base=1.0, ceiling=8.0)
    delays = [queue.retry("a") for _ in range(6)]
    assert [round(delay) for delay in delays[:3]] == [pytest.approx(want, abs=1) for want in (1, 2, 4)]
    assert all(delay <= 8.0 * 1.2 for delay in delays)
    queue.succeeded("a")
    assert queue.retry("a") <= 1.2


async def test_a_delay_that_is_asked_for_is_kept_unless_the_key_is_added_before() -> None:
    queue: KeyedQueue[str] = KeyedQueue(base=0.1)
    assert queue.retry("a", at_least=7.0) >= 7.0
    queue.add("a")
    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_a_server_that_asks_to_wait_is_heard_whatever_happens_meanwhile() -> None:
    queue: KeyedQueue[str] = KeyedQueue(base=0.01)
    queue.add("a")
    await queue.take()
    queue.add("a")
    assert queue.retry("a", hold=0.2) >= 0.2
    began = asyncio.get_running_loop().time()
    queue.done("a")
    queue.add("a")
    queue.add_after("a", 0.05)
    assert len(queue) == 0
    assert await asyncio.wait_for(queue.take(), 2) == "a"
    assert asyncio.get_running_loop().time() - began >= 0.19


async def test_no_server_may_ask_for_more_than_the_ceiling() -> None:
    queue: KeyedQueue[str] = KeyedQueue(ceiling=8.0)
    assert queue.retry("a", hold=1e9) <= 8.0 * 1.2


async def test_the_earlier_of_two_delays_counts() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add_after("a", 30)
    queue.add_after("a", 0.01)
    queue.add_after("a", 20)
    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_a_forgotten_key_does_not_come_back() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add_after("a", 0.01)
    queue.forget("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)
