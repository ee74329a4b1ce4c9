"""The test environments themselves."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from laboratory import QUEUE, Call, Gate, Lab, Sleep, causes, events_of

from flowkernel import activity, workflow
from flowkernel.activity import ActivityCancellationDetails
from flowkernel.client import RPCError
from flowkernel.exceptions import CancelledError
from flowkernel.testing import ActivityEnvironment, WorkflowEnvironment, WorkflowStuckError
from flowkernel.worker import Worker

pytestmark = pytest.mark.anyio

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def lab() -> Any:
    async with await WorkflowEnvironment.start_time_skipping(start=START) as env:
        yield Lab(env)


@workflow.defn
class Clock:
    """Notes the time of workflow code every hour."""

    def __init__(self) -> None:
        self.hours: list[str] = []

    @workflow.run
    async def run(self, hours: int) -> list[str]:
        for _ in range(hours):
            self.hours.append(workflow.now().strftime("%d %H:%M"))
            await workflow.sleep("1h")
        return self.hours

    @workflow.query
    def seen(self) -> list[str]:
        return self.hours


async def test_a_month_passes_at_once(lab: Lab) -> None:
    async with lab.worker(Sleep):
        assert await lab.run(Sleep.run, "30 days") == "slept 30 days"
    passed = await lab.env.get_current_time() - START
    assert timedelta(days=30) <= passed < timedelta(days=30, seconds=1)


async def test_time_stands_still_otherwise(lab: Lab) -> None:
    async with lab.worker(Sleep):
        handle = await lab.start(Sleep.run, "1s")
        await lab.event(handle, "TimerStarted")
        assert await lab.env.get_current_time() - START < timedelta(milliseconds=1)
        assert (await handle.describe()).status.name == "RUNNING"
        assert await handle.result() == "slept 1s"


async def test_sleep_stops_where_it_should_and_everything_before_has_happened(lab: Lab) -> None:
    async with lab.worker(Clock):
        handle = await lab.start(Clock.run, 100)
        await lab.env.sleep("2h30m")
        assert await handle.query(Clock.seen) == ["01 00:00", "01 01:00", "01 02:00"]
        assert abs(await lab.env.get_current_time() - START - timedelta(hours=2.5)) < timedelta(milliseconds=1)
        await lab.env.sleep(timedelta(hours=1))
        assert len(await handle.query(Clock.seen)) == 4


async def test_sleeps_at_the_same_time_end_in_order(lab: Lab) -> None:
    ends: list[int] = []

    async def sleeper(minutes: int) -> None:
        await lab.env.sleep(f"{minutes}m")
        ends.append(minutes)

    await asyncio.gather(*(sleeper(minutes) for minutes in (3, 1, 2)))
    assert ends == [1, 2, 3]


async def test_a_sleep_that_is_cancelled_moves_nothing(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def works() -> None:
        gate.pass_in_thread()

    async with lab.worker(Call, works):
        handle = await lab.start_call(works)
        await gate.arrived()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lab.env.sleep("1h"), 0.001)
        gate.open()
        await handle.result()
    assert await lab.env.get_current_time() < START + timedelta(minutes=1)


async def test_a_running_activity_holds_time_up(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def works() -> int:
        gate.pass_in_thread()
        return activity.info().attempt

    async with lab.worker(Call, Sleep, works):
        working = await lab.start_call(works, start_to_close_timeout="10s")
        await gate.arrived()
        sleeping = await lab.start(Sleep.run, "1h")
        result = asyncio.create_task(sleeping.result())
        await lab.event(sleeping, "TimerStarted")
        assert await lab.env.get_current_time() < START + timedelta(seconds=1)
        gate.open()
        assert await working.result() == 1
        assert await result == "slept 1h"


async def test_skipping_can_be_switched_off(lab: Lab) -> None:
    async with lab.worker(Sleep):
        handle = await lab.start(Sleep.run, "1h")
        with lab.env.auto_time_skipping_disabled():
            result = asyncio.create_task(handle.result())
            await lab.event(handle, "TimerStarted")
            await lab.env.sleep("59m")
            assert "TimerFired" not in await events_of(handle)
            await lab.env.sleep("2m")
            assert await result == "slept 1h"


async def test_a_result_nobody_waits_for_any_more_skips_nothing(lab: Lab) -> None:
    async with lab.worker(Sleep):
        with pytest.raises(RPCError, match="not found"):
            await lab.client.get_workflow_handle("never").result()
        handle = await lab.start(Sleep.run, "1h")
        await lab.event(handle, "TimerStarted")
        assert await lab.env.get_current_time() < START + timedelta(seconds=1)


@workflow.defn
class Asserts:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "assert":
            assert how == "other", "not the other"
        raise KeyError(how)


async def test_a_failed_assert_fails_the_workflow(lab: Lab) -> None:
    async with lab.worker(Asserts):
        (error,) = await causes(lab.run(Asserts.run, "assert"))
    assert error.type == "AssertionError"
    assert "not the other" in error.message


async def test_code_that_keeps_failing_does_not_hang_the_test(lab: Lab) -> None:
    async with lab.worker(Asserts):
        text = "workflow 'flow-1' has no result: its code failed 10 times, the last time with KeyError: 'bug'"
        with pytest.raises(WorkflowStuckError, match=text):
            await lab.run(Asserts.run, "bug")


async def test_the_local_environment_has_real_time() -> None:
    async with await WorkflowEnvironment.start_local() as env:
        assert not env.supports_time_skipping
        before = datetime.now(UTC)
        await env.sleep(0.001)
        assert await env.get_current_time() > before
        with env.auto_time_skipping_disabled():
            async with Worker(env.client, task_queue=QUEUE, workflows=[Sleep]):
                handle = await env.client.start_workflow(Sleep.run, "1ms", id="w", task_queue=QUEUE)
                assert await handle.result() == "slept 1ms"
        same = WorkflowEnvironment.from_client(env.client)
        async with same:
            assert same.client is env.client
        assert (await handle.describe()).status.name == "COMPLETED"


async def test_a_start_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone; use for example datetime"):
        await WorkflowEnvironment.start_time_skipping(start=datetime(2030, 1, 1))  # noqa: DTZ001 - what is refused


async def test_after_its_end_no_time_passes() -> None:
    env = await WorkflowEnvironment.start_time_skipping()
    await env.shutdown()
    await env.shutdown()
    with pytest.raises(RPCError, match="the flowkernel service is closed"):
        await env.sleep("1h")


async def test_supports_time_skipping(lab: Lab) -> None:
    assert lab.env.supports_time_skipping


# --- activities -----------------------------------------------------------------------------------------------------


@activity.defn
def sync_activity(x: int, *, y: int = 1) -> tuple[int, str, bool]:
    activity.heartbeat(x, "beat")
    return x + y, activity.info().activity_type, activity.in_activity()


@activity.defn
async def async_activity(x: int) -> tuple[int, str]:
    activity.heartbeat(x)
    await asyncio.sleep(0)
    return x, activity.info().workflow_id


async def test_running_an_activity() -> None:
    env = ActivityEnvironment()
    beats: list[tuple[Any, ...]] = []
    env.on_heartbeat = lambda *details: beats.append(details)
    env.info = replace(env.info, activity_type="mine", workflow_id="w")
    assert env.run(sync_activity, 1, y=2) == (3, "mine", True)
    assert await env.run(async_activity, 5) == (5, "w")
    assert beats == [(1, "beat"), (5,)]
    assert env.run(lambda: activity.payload_converter()) is env.payload_converter
    assert not activity.in_activity()


async def test_an_async_activity_is_cancelled() -> None:
    env = ActivityEnvironment()

    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert activity.is_cancelled()
            return f"reset={activity.cancellation_details().reset}"
        return "?"

    async def begins_too_late() -> str:
        await activity.wait_for_cancelled()
        return "not reached"

    task = asyncio.ensure_future(env.run(waits))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    env.cancel(ActivityCancellationDetails(reset=True))
    env.cancel(ActivityCancellationDetails(paused=True))
    assert await task == "reset=True"
    with pytest.raises(asyncio.CancelledError):
        await env.run(begins_too_late)


def test_a_thread_is_cancelled() -> None:
    env = ActivityEnvironment()
    env.on_heartbeat = lambda: env.cancel()

    def works() -> str:
        with activity.shield_thread_cancel_exception():
            activity.heartbeat()
            assert activity.cancellation_details() == ActivityCancellationDetails(cancel_requested=True)
            assert activity.is_cancelled()
        return "not reached"

    with pytest.raises(CancelledError):
        env.run(works)


def test_a_thread_that_does_not_want_to_be() -> None:
    @activity.defn(no_thread_cancel_exception=True)
    def works() -> bool:
        activity.heartbeat()
        activity.wait_for_cancelled_sync()
        return activity.is_cancelled()

    env = ActivityEnvironment()
    env.on_heartbeat = lambda: env.cancel()
    assert env.run(works) is True


def test_worker_shutdown() -> None:
    env = ActivityEnvironment()
    env.on_heartbeat = lambda: threading.Thread(target=env.worker_shutdown).start()

    def works() -> bool:
        assert not activity.is_worker_shutdown()
        activity.heartbeat()
        activity.wait_for_worker_shutdown_sync("1m")
        return activity.is_worker_shutdown()

    assert env.run(works)
    assert env.run(activity.is_worker_shutdown)


async def test_the_client_of_an_activity(lab: Lab) -> None:
    assert ActivityEnvironment(lab.client).run(activity.client) is lab.client
    with pytest.raises(RuntimeError, match=r"activity.client: there is none"):
        ActivityEnvironment().run(activity.client)
