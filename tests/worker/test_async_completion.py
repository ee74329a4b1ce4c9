"""Activities that somebody else completes."""

from __future__ import annotations

import pytest
from laboratory import ONCE, Call, Lab, causes, named, records_of

from flowkernel import activity
from flowkernel.client import AsyncActivityCancelledError, AsyncActivityHandle, RPCError, RPCStatusCode, WorkflowHandle
from flowkernel.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType  # noqa: A004 - the SDK's name

pytestmark = pytest.mark.anyio

tokens: list[bytes] = []


@activity.defn
def hands_over() -> None:
    print("call me back")
    tokens.append(activity.info().task_token)
    activity.raise_complete_async()


@activity.defn
async def hands_over_async() -> None:
    tokens.append(activity.info().task_token)
    activity.raise_complete_async()


@activity.defn(in_process=True)
def hands_over_in_process() -> None:
    activity.raise_complete_async()


async def released(lab: Lab, fn=hands_over, **options) -> WorkflowHandle:
    handle = await lab.start_call(fn, start_to_close_timeout="1h", **options)
    await lab.seen(handle, named("ActivityAttemptReleased"))
    return handle


def by_id(lab: Lab, handle: WorkflowHandle) -> AsyncActivityHandle:
    return lab.client.get_async_activity_handle(workflow_id=handle.id, run_id=handle.result_run_id, activity_id="1")


@pytest.mark.parametrize("fn", [hands_over, hands_over_async])
async def test_by_token(lab: Lab, fn) -> None:
    async with lab.worker(Call, fn):
        handle = await released(lab, fn)
        await lab.client.get_async_activity_handle(task_token=tokens[-1]).complete({"rows": 3})
        assert await handle.result() == {"rows": 3}


@pytest.mark.parametrize("fn", [hands_over, hands_over_in_process])
async def test_by_id_without_a_worker_even(lab: Lab, fn) -> None:
    async with lab.worker(Call, fn):
        handle = await released(lab, fn)
    await by_id(lab, handle).complete("by hand")
    async with lab.worker(Call):
        assert await handle.result() == "by hand"


async def test_of_the_latest_run(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab)
        await lab.client.get_async_activity_handle(workflow_id=handle.id, activity_id="1").complete()
        assert await handle.result() is None


async def test_a_failure_is_retried(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab)
        await by_id(lab, handle).fail(ValueError("try again"))
        await lab.env.sleep("1s")
        await lab.seen(handle, lambda item: named("ActivityAttemptReleased")(item) and item.attempt == 2)
        await by_id(lab, handle).complete("second")
        assert await handle.result() == "second"


async def test_the_last_failure_reaches_the_workflow(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab, **ONCE)
        await by_id(lab, handle).fail(ApplicationError("no", "why", type="Refused"))
        _, cause = await causes(handle.result())
    assert (cause.type, list(cause.details)) == ("Refused", ["why"])


async def test_heartbeats_keep_it_alive_and_are_kept(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab, heartbeat_timeout="1m", **ONCE)
        for share in (10, 20, 30):
            await lab.env.sleep("50s")
            await by_id(lab, handle).heartbeat(share)
        _, cause = await causes(handle.result())
    assert isinstance(cause, TimeoutError)
    assert (cause.type, list(cause.last_heartbeat_details)) == (TimeoutType.HEARTBEAT, [30])


async def test_its_time_limit_goes_on(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab, **ONCE)
        _, cause = await causes(handle.result())
    assert cause.type is TimeoutType.START_TO_CLOSE


async def test_a_heartbeat_says_that_it_should_stop(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab, cancellation_type="WAIT_CANCELLATION_COMPLETED")
        await by_id(lab, handle).heartbeat()
        await handle.cancel()
        await lab.event(handle, "ActivityTaskCancelRequested")
        with pytest.raises(AsyncActivityCancelledError):
            await by_id(lab, handle).heartbeat()
        await by_id(lab, handle).report_cancellation("stopped at 7")
        (error,) = await causes(handle.result())
    assert isinstance(error, CancelledError)
    canceled = await lab.event(handle, "ActivityTaskCanceled")
    assert canceled.details[0].data == b'"stopped at 7"'


async def test_a_cancellation_nobody_asked_for_is_refused(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab)
        with pytest.raises(RPCError) as caught:
            await by_id(lab, handle).report_cancellation()
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
        await by_id(lab, handle).complete()


async def test_too_late(lab: Lab) -> None:
    async with lab.worker(Call, hands_over):
        handle = await released(lab)
        late = by_id(lab, handle)
        token = lab.client.get_async_activity_handle(task_token=tokens[-1])
        await late.complete(1)
        await handle.result()
    for call in (late.complete(2), token.complete(2), late.fail(ValueError()), late.heartbeat(), late.report_cancellation()):
        with pytest.raises(RPCError) as caught:
            await call
        assert caught.value.status is RPCStatusCode.NOT_FOUND
    assert not [record for record in await records_of(handle) if named("ActivityHeartbeatRecorded")(record)]


async def test_what_names_no_activity(lab: Lab) -> None:
    get = lab.client.get_async_activity_handle
    with pytest.raises(ValueError, match="give task_token, or workflow_id and activity_id"):
        get(workflow_id="w")
    with pytest.raises(ValueError, match="not both"):
        get(workflow_id="w", activity_id="1", task_token=b"x")
    with pytest.raises(ValueError, match="not a flowkernel task token: b'x'"):
        get(task_token=b"x")
    with pytest.raises(RPCError) as caught:
        await get(workflow_id="never started", activity_id="1").complete()
    assert caught.value.status is RPCStatusCode.NOT_FOUND
