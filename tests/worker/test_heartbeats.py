"""Heartbeats: their details reach the next attempt, their absence ends an attempt, their answers bring cancellation."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from laboratory import ONCE, Call, Gate, Lab, causes, events_of, named, records_of

from flowkernel import activity
from flowkernel.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError, TimeoutType  # noqa: A004 - the SDK's name

pytestmark = pytest.mark.anyio

EVERY = {"default_heartbeat_throttle_interval": timedelta(0)}
"""Send every heartbeat."""


@activity.defn
def beats_and_fails() -> list:
    info = activity.info()
    if info.attempt == 3:
        return list(info.heartbeat_details)
    activity.heartbeat(info.attempt, {"rows": 10})
    raise ValueError("on")


async def test_details_reach_the_next_attempt(lab: Lab) -> None:
    async with lab.worker(Call, beats_and_fails):
        assert await lab.call(beats_and_fails) == [2, {"rows": 10}]


@activity.defn
def beats_often(times: int) -> list:
    info = activity.info()
    if info.attempt == 2:
        return list(info.heartbeat_details)
    for number in range(times):
        activity.heartbeat(number)
    raise ValueError("on")


async def test_the_latest_details_count_though_few_are_sent(lab: Lab) -> None:
    async with lab.worker(Call, beats_often):
        handle = await lab.start_call(beats_often, 1000)
        assert await handle.result() == [999]
    assert len([record for record in await records_of(handle) if named("ActivityHeartbeatRecorded")(record)]) <= 2


@activity.defn(no_thread_cancel_exception=True)
def beats_once_then_hangs(seconds: float) -> None:
    activity.heartbeat("half", 50)
    activity.wait_for_cancelled_sync(seconds)


async def test_a_missing_heartbeat_ends_the_attempt(lab: Lab) -> None:
    async with lab.worker(Call, beats_once_then_hangs):
        handle = await lab.start_call(beats_once_then_hangs, 60, heartbeat_timeout="30s", start_to_close_timeout="1h", **ONCE)
        await lab.seen(handle, named("ActivityHeartbeatRecorded"))
        await lab.env.sleep("31s", during_activities=True)
        error, cause = await causes(handle.result())
        assert isinstance(error, ActivityError)
        assert isinstance(cause, TimeoutError)
        assert (cause.type, list(cause.last_heartbeat_details)) == (TimeoutType.HEARTBEAT, ["half", 50])
        assert str(cause) == "activity Heartbeat timeout"


async def test_a_heartbeat_in_time_keeps_it_alive(lab: Lab) -> None:
    first, second = Gate(), Gate()

    @activity.defn
    def beats_twice() -> int:
        activity.heartbeat(1)
        first.pass_in_thread()
        activity.heartbeat(2)
        second.pass_in_thread()
        return activity.info().attempt

    async with lab.worker(Call, beats_twice, **EVERY):
        handle = await lab.start_call(beats_twice, heartbeat_timeout="30s", start_to_close_timeout="1h")
        await lab.seen(handle, named("ActivityHeartbeatRecorded"))
        await lab.env.sleep("20s", during_activities=True)
        first.open()
        await lab.seen(handle, lambda item: named("ActivityHeartbeatRecorded")(item) and b"2" in item.details[0].data)
        await lab.env.sleep("20s", during_activities=True)
        second.open()
        assert await handle.result() == 1


class Strange:
    """Has no JSON form."""


async def test_details_that_cannot_be_kept_fail_the_attempt(lab: Lab) -> None:
    @activity.defn
    def beats_badly() -> None:
        activity.heartbeat(Strange())
        threading.Event().wait(60)

    async with lab.worker(Call, beats_badly):
        _, cause, *_ = await causes(lab.call(beats_badly, **ONCE))
    assert isinstance(cause, ApplicationError)
    assert cause.message.startswith("heartbeat: detail of type ")
    assert "Strange cannot be converted: it has no JSON form. Pass JSON types" in cause.message


# --- cancellation ---------------------------------------------------------------------------------------------------


async def cancelled_while_running(lab: Lab, gate: Gate, fn, kind: str = "WAIT_CANCELLATION_COMPLETED"):
    handle = await lab.start_call(fn, cancellation_type=kind, start_to_close_timeout="1h")
    await gate.arrived()
    await handle.cancel()
    await lab.event(handle, "ActivityTaskCancelRequested")
    gate.open()
    return handle


async def test_it_reaches_an_async_activity(lab: Lab) -> None:
    gate = Gate()
    seen: list[object] = []

    @activity.defn
    async def works() -> None:
        await gate.pass_through()
        activity.heartbeat()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(activity.cancellation_details())
            raise

    async with lab.worker(Call, works, **EVERY):
        handle = await cancelled_while_running(lab, gate, works)
        (error,) = await causes(handle.result())
    assert isinstance(error, CancelledError)
    assert [found.cancel_requested for found in seen] == [True]
    assert "ActivityTaskCanceled" in await events_of(handle)


async def test_it_reaches_a_thread(lab: Lab) -> None:
    gate = Gate()
    seen: list[str] = []

    @activity.defn
    def works() -> None:
        gate.pass_in_thread()
        activity.heartbeat()
        try:
            while True:
                activity.wait_for_cancelled_sync(0.001)
        except CancelledError:
            seen.append("cleaned up")
            raise

    async with lab.worker(Call, works, **EVERY):
        handle = await cancelled_while_running(lab, gate, works)
        (error,) = await causes(handle.result())
    assert isinstance(error, CancelledError)
    assert seen == ["cleaned up"]
    assert "ActivityTaskCanceled" in await events_of(handle)


async def test_a_thread_may_ask_instead(lab: Lab) -> None:
    gate = Gate()

    @activity.defn(no_thread_cancel_exception=True)
    def works() -> str:
        gate.pass_in_thread()
        activity.heartbeat()
        activity.wait_for_cancelled_sync("1m")
        assert activity.is_cancelled()
        raise CancelledError("stopped", {"rows": 3})

    async with lab.worker(Call, works, **EVERY):
        handle = await cancelled_while_running(lab, gate, works)
        await causes(handle.result())
    canceled = await lab.event(handle, "ActivityTaskCanceled")
    assert b"rows" in canceled.details[0].data


async def test_a_shield_holds_it_back(lab: Lab) -> None:
    gate = Gate()
    seen: list[str] = []

    @activity.defn
    def works() -> None:
        gate.pass_in_thread()
        with activity.shield_thread_cancel_exception():
            activity.heartbeat()
            activity.wait_for_cancelled_sync("1m")
            seen.append("critical part done")
        seen.append("not reached")

    async with lab.worker(Call, works, **EVERY):
        handle = await cancelled_while_running(lab, gate, works)
        await causes(handle.result())
    assert seen == ["critical part done"]
    assert "ActivityTaskCanceled" in await events_of(handle)


async def test_try_cancel_does_not_wait(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def works() -> None:
        gate.pass_in_thread()

    async with lab.worker(Call, works):
        handle = await lab.start_call(works, cancellation_type="TRY_CANCEL")
        await gate.arrived()
        await handle.cancel()
        await causes(handle.result())
        names = await events_of(handle)
        assert names[-3:] == ["WorkflowTaskCompleted", "ActivityTaskCancelRequested", "WorkflowExecutionCanceled"]
        gate.open()


async def test_abandon_leaves_it_alone(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def works() -> None:
        gate.pass_in_thread()

    async with lab.worker(Call, works):
        handle = await lab.start_call(works, cancellation_type="ABANDON")
        await gate.arrived()
        await handle.cancel()
        await causes(handle.result())
        assert "ActivityTaskCancelRequested" not in await events_of(handle)
        gate.open()


async def test_who_waits_for_the_end_gets_the_real_one(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def ignores_it() -> str:
        gate.pass_in_thread()
        return "done all the same"

    async with lab.worker(Call, ignores_it):
        handle = await cancelled_while_running(lab, gate, ignores_it)
        assert await handle.result() == "done all the same"


async def test_an_attempt_nobody_wants_any_more_is_told(lab: Lab) -> None:
    gate, after = Gate(), Gate()
    seen: list[object] = []

    @activity.defn
    async def works() -> None:
        await gate.pass_through()
        activity.heartbeat()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(activity.cancellation_details())
            after.open()
            await after.pass_through()

    async with lab.worker(Call, works, **EVERY):
        handle = await lab.start_call(works)
        await gate.arrived()
        await handle.terminate()
        gate.open()
        await after.arrived()
    assert [found.not_found for found in seen] == [True]
