"""The life of workers: shutting down, limits, sharing a queue, coming and going, small caches."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from laboratory import ONCE, Call, Gate, Inbox, Lab, Sleep, causes, events_of, named, records_of

from flowkernel import activity, workflow
from flowkernel.api import call
from flowkernel.exceptions import CancelledError
from flowkernel.model.records import ActivityAttemptFailed, ActivityAttemptStarted
from flowkernel.model.requests import UnregisterWorker

pytestmark = pytest.mark.anyio

GRACE = {"graceful_shutdown_timeout": timedelta(minutes=5)}


# --- shutting down --------------------------------------------------------------------------------------------------


async def test_running_activities_may_finish(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def works() -> str:
        gate.pass_in_thread()
        return "finished"

    worker = lab.worker(Call, works, **GRACE)
    async with worker:
        handle = await lab.start_call(works)
        await gate.arrived()
        ending = asyncio.create_task(worker.shutdown())
        await asyncio.sleep(0)
        assert not worker.is_running
        assert not worker.is_shutdown
        gate.open()
        await ending
        assert worker.is_shutdown
    await lab.seen(handle, lambda item: named("ActivityAttemptStarted")(item))
    async with lab.worker(Call):
        assert await handle.result() == "finished"
    assert len([record for record in await records_of(handle) if isinstance(record, ActivityAttemptStarted)]) == 1


async def test_they_hear_of_it(lab: Lab) -> None:
    gate = Gate()
    heard: list[str] = []

    @activity.defn
    def in_thread() -> None:
        gate.pass_in_thread()
        activity.wait_for_worker_shutdown_sync("1m")
        heard.append(f"thread {activity.is_worker_shutdown()}")

    @activity.defn
    async def on_loop() -> None:
        await gate.pass_through()
        await activity.wait_for_worker_shutdown()
        heard.append(f"loop {activity.is_worker_shutdown()}")

    async with lab.worker(Call, in_thread, on_loop, **GRACE):
        await lab.start_call(in_thread)
        await lab.start_call(on_loop)
        await gate.arrived()
        await gate.arrived()
        gate.open()
    assert sorted(heard) == ["loop True", "thread True"]


async def test_without_grace_they_are_cancelled_and_tried_again_elsewhere(lab: Lab) -> None:
    gate = Gate()
    seen: list[object] = []

    @activity.defn
    async def works() -> int:
        if activity.info().attempt == 1:
            try:
                gate.open()
                await gate.pass_through()
                await asyncio.Event().wait()
            finally:
                seen.append(activity.cancellation_details())
        return activity.info().attempt

    async with lab.worker(Call, works):
        handle = await lab.start_call(works)
        await gate.arrived()
    assert [found.worker_shutdown for found in seen] == [True]
    async with lab.worker(Call, works):
        assert await handle.result() == 2
    (failed,) = [record for record in await records_of(handle) if isinstance(record, ActivityAttemptFailed)]
    assert (failed.failure.info.type, failed.failure.message) == ("WorkerShutdown", "Worker shutting down")


async def test_threads_are_cancelled_too(lab: Lab) -> None:
    gate = Gate()
    seen: list[str] = []

    @activity.defn
    def works() -> None:
        gate.open()
        gate.pass_in_thread()
        try:
            while True:
                activity.wait_for_cancelled_sync(0.001)
        except CancelledError:
            seen.append("cancelled")
            raise

    async with lab.worker(Call, works):
        await lab.start_call(works)
        await gate.arrived()
    assert seen == ["cancelled"]


async def test_a_worker_runs_once(lab: Lab) -> None:
    worker = lab.worker(Sleep)
    running = asyncio.create_task(worker.run())
    assert await lab.run(Sleep.run, "1m") == "slept 1m"
    await worker.shutdown()
    await running
    with pytest.raises(RuntimeError, match="worker on 'lab' ran already; make another one"):
        await worker.run()


async def test_cancelling_run_shuts_it_down(lab: Lab) -> None:
    worker = lab.worker(Sleep)
    running = asyncio.create_task(worker.run())
    assert await lab.run(Sleep.run, "1m") == "slept 1m"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert worker.is_shutdown


async def test_no_threads_are_left_behind(lab: Lab) -> None:
    @activity.defn
    def works() -> None: ...

    before = set(threading.enumerate())
    async with lab.worker(Call, works):
        await lab.call(works)
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("flowkernel")]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
async def test_so_many_activities_at_once(lab: Lab, limit: int) -> None:
    now, most = 0, 0
    lock = threading.Lock()

    @activity.defn
    def counts() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        activity.wait_for_worker_shutdown_sync(0.001)
        with lock:
            now -= 1

    async with lab.worker(Call, counts, max_concurrent_activities=limit):
        await asyncio.gather(*(lab.call(counts) for _ in range(12)))
    assert most == limit


async def test_one_workflow_task_at_once(lab: Lab) -> None:
    async with lab.worker(Sleep, max_concurrent_workflow_tasks=1):
        results = await asyncio.gather(*(lab.run(Sleep.run, f"{n}m") for n in range(10)))
    assert results == [f"slept {n}m" for n in range(10)]


async def test_an_executor_of_the_authors(lab: Lab) -> None:
    @activity.defn
    def where() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        async with lab.worker(Call, where, activity_executor=executor):
            assert await lab.call(where) == "mine_0"
        assert executor.submit(int).result() == 0


# --- more than one --------------------------------------------------------------------------------------------------


async def test_two_workers_share_a_queue(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    async def who() -> str:
        await gate.pass_through()
        return "done"

    one = lab.worker(Call, who, identity="one", max_concurrent_activities=2)
    two = lab.worker(Call, who, identity="two", max_concurrent_activities=2)
    async with one, two:
        handles = [await lab.start_call(who) for _ in range(4)]
        for _ in handles:
            await gate.arrived()
        gate.open()
        assert [await handle.result() for handle in handles] == ["done"] * 4
    identities = [r.identity for h in handles for r in await records_of(h) if isinstance(r, ActivityAttemptStarted)]
    assert sorted(identities) == ["one", "one", "two", "two"]


async def test_each_takes_what_it_knows(lab: Lab) -> None:
    @activity.defn
    async def here() -> str:
        return "here"

    workflows_only = lab.worker(Call)
    activities_only = lab.worker(here)
    async with workflows_only, activities_only:
        assert await lab.call(here) == "here"


async def test_another_worker_takes_over_a_run_in_the_middle(lab: Lab) -> None:
    async with lab.worker(Inbox):
        handle = await lab.start(Inbox.run)
        await handle.signal(Inbox.put, "first")
        assert await handle.query(Inbox.count) == 1
    await handle.signal(Inbox.put, "second")
    async with lab.worker(Inbox):
        assert await handle.query(Inbox.count) == 2
        await handle.signal("finish")
        assert await handle.result() == ["first", "second"]


async def test_a_lost_worker_is_replaced_at_once(lab: Lab) -> None:
    gate = Gate()

    @activity.defn(no_thread_cancel_exception=True)
    def works() -> int:
        if activity.info().attempt == 1:
            gate.pass_in_thread()
        return activity.info().attempt

    lost = lab.worker(Call, works)
    async with lost:
        handle = await lab.start_call(works, start_to_close_timeout="1h", retry_policy={"initial_interval": 3600})
        await gate.arrived()
        await call(lab.client.service, UnregisterWorker(lost._worker_id, lost=True))
        async with lab.worker(Call, works):
            with lab.env.auto_time_skipping_disabled():
                assert await handle.result() == 2
        gate.open()
    assert (await records_of(handle))[-1].attempt == 2


async def test_a_lost_attempt_that_may_not_be_repeated_fails(lab: Lab) -> None:
    gate = Gate()

    @activity.defn(no_thread_cancel_exception=True)
    def works() -> None:
        gate.pass_in_thread()

    async with lab.worker(Call) as _, lab.worker(works) as lost:
        handle = await lab.start_call(works, **ONCE)
        await gate.arrived()
        await call(lab.client.service, UnregisterWorker(lost._worker_id, lost=True))
        error, cause = await causes(handle.result())
        gate.open()
    assert error.activity_type == "works"
    assert str(cause)


# --- the cache ------------------------------------------------------------------------------------------------------


@activity.defn
async def add(total: int, n: int) -> int:
    return total + n


@workflow.defn
class Sums:
    def __init__(self) -> None:
        self.bonus: list[int] = []

    @workflow.run
    async def run(self, number: int) -> list[int]:
        total = 0
        for n in range(5):
            total = await workflow.execute_activity(add, args=[total, n], start_to_close_timeout=10)
            await workflow.sleep(number + 1)
        await workflow.wait_condition(lambda: len(self.bonus) == 2)
        return [number, total, *self.bonus, workflow.random().randint(0, 0)]

    @workflow.signal
    def give(self, amount: int) -> None:
        self.bonus.append(amount)

    @workflow.query
    def given(self) -> int:
        return len(self.bonus)


@pytest.mark.parametrize("cached", [0, 1, 3, 1000])
async def test_runs_that_do_not_fit_into_the_cache_are_replayed(lab: Lab, cached: int) -> None:
    async with lab.worker(Sums, add, max_cached_workflows=cached):
        handles = [await lab.start(Sums.run, number) for number in range(10)]
        for amount in (7, 8):
            await asyncio.gather(*(handle.signal(Sums.give, amount) for handle in handles))
            assert [await handle.query(Sums.given) for handle in handles] == [amount - 6] * 10
        results = await asyncio.gather(*(handle.result() for handle in handles))
        assert results == [[number, 10, 7, 8, 0] for number in range(10)]
        assert [await handle.query(Sums.given) for handle in handles] == [2] * 10
    for handle in handles:
        assert "WorkflowTaskFailed" not in await events_of(handle)
