"""Signals, queries, cancelling and ending."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from laboratory import Gate, Inbox, Lab, Sleep, causes, events_of

from flowkernel import activity, workflow
from flowkernel.client import RPCError, RPCStatusCode, WorkflowQueryFailedError, WorkflowQueryRejectedError
from flowkernel.common import QueryRejectCondition
from flowkernel.exceptions import ApplicationError, CancelledError, TerminatedError

pytestmark = pytest.mark.anyio


# --- signals --------------------------------------------------------------------------------------------------------


async def test_by_method_and_by_name_in_order(lab: Lab) -> None:
    async with lab.worker(Inbox):
        handle = await lab.start(Inbox.run)
        await handle.signal(Inbox.put, "by method")
        await handle.signal("put", {"by": "name"})
        await handle.signal(Inbox.put, args=[None])
        await handle.signal(Inbox.end)
        assert await handle.result() == ["by method", {"by": "name"}, None]


async def test_before_there_is_a_worker(lab: Lab) -> None:
    handle = await lab.start(Inbox.run)
    for number in range(5):
        await handle.signal(Inbox.put, number)
    await handle.signal("finish")
    async with lab.worker(Inbox):
        assert await handle.result() == [0, 1, 2, 3, 4]


async def test_a_signal_sent_twice_with_one_request_id_arrives_once(lab: Lab) -> None:
    handle = await lab.start(Inbox.run)
    for _ in range(2):
        await handle.signal(Inbox.put, 1, request_id="r")
    await handle.signal("finish")
    async with lab.worker(Inbox):
        assert await handle.result() == [1]


async def test_an_unknown_signal_waits_and_an_unreadable_one_is_dropped(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    async with lab.worker(Typed):
        handle = await lab.start(Typed.run)
        await handle.signal("nobody listens", 1)
        await handle.signal("set_point", "no point")
        await handle.signal(Typed.set_point, Point(1, 2))
        assert await handle.result() == Point(1, 2)
    assert any("workflow 'flow-1': signal 'set_point' dropped: its arguments cannot be read" in m for m in caplog.messages)


@dataclass
class Point:
    x: int
    y: int


@workflow.defn
class Typed:
    def __init__(self) -> None:
        self.point: Point | None = None

    @workflow.run
    async def run(self) -> Point:
        await workflow.wait_condition(lambda: self.point is not None)
        return self.point

    @workflow.signal
    def set_point(self, point: Point) -> None:
        assert isinstance(point, Point)
        self.point = point

    @workflow.query
    def get_point(self) -> Point | None:
        return self.point

    @workflow.query
    def shifted(self, by: Point) -> Point:
        return Point(self.point.x + by.x, self.point.y + by.y)


async def test_types_are_kept_both_ways(lab: Lab) -> None:
    async with lab.worker(Typed):
        handle = await lab.start(Typed.run)
        await handle.signal(Typed.set_point, Point(1, 2))
        assert await handle.query(Typed.get_point) == Point(1, 2)
        assert await handle.query(Typed.shifted, Point(10, 10)) == Point(11, 12)
        assert await handle.query("get_point") == {"x": 1, "y": 2}
        assert await handle.query("get_point", result_type=Point) == Point(1, 2)


async def test_a_closed_execution_takes_none(lab: Lab) -> None:
    async with lab.worker(Sleep):
        handle = await lab.start(Sleep.run, "1m")
        await handle.result()
    for call in (handle.signal("x"), handle.cancel(), handle.terminate()):
        with pytest.raises(RPCError, match="workflow execution already completed: 'flow-1'") as caught:
            await call
        assert caught.value.status is RPCStatusCode.NOT_FOUND


# --- queries --------------------------------------------------------------------------------------------------------


@workflow.defn
class Asked:
    def __init__(self) -> None:
        self.state = "begun"

    @workflow.run
    async def run(self, how: str) -> str:
        self.state = "waiting"
        await workflow.sleep("1h")
        self.state = "ended"
        if how == "fail":
            raise ApplicationError("failed")
        return how

    @workflow.query
    def status(self) -> str:
        return self.state

    @workflow.query
    def breaks(self) -> str:
        raise ValueError("not today")

    @workflow.query
    def cheats(self) -> str:
        workflow.start_activity("x", start_to_close_timeout=1)
        return "?"

    @workflow.query
    def draws(self) -> float:
        return workflow.random().random()


async def test_open_and_closed(lab: Lab) -> None:
    async with lab.worker(Asked):
        handle = await lab.start(Asked.run, "fine")
        assert await handle.query(Asked.status) == "waiting"
        await handle.result()
        before = await events_of(handle)
        assert await handle.query(Asked.status) == "ended"
        assert await events_of(handle) == before
    async with lab.worker(Asked):
        assert await handle.query("status") == "ended"


async def test_failed_ones_too(lab: Lab) -> None:
    async with lab.worker(Asked):
        handle = await lab.start(Asked.run, "fail")
        await causes(handle.result())
        assert await handle.query(Asked.status) == "ended"
        with pytest.raises(WorkflowQueryRejectedError) as caught:
            await handle.query(Asked.status, reject_condition=QueryRejectCondition.NOT_COMPLETED_CLEANLY)
        assert caught.value.status.name == "FAILED"


async def test_reject_conditions(lab: Lab) -> None:
    async with lab.worker(Asked):
        handle = await lab.start(Asked.run, "fine")
        assert await handle.query(Asked.status, reject_condition=QueryRejectCondition.NOT_OPEN) == "waiting"
        await handle.result()
        assert await handle.query(Asked.status, reject_condition=QueryRejectCondition.NOT_COMPLETED_CLEANLY) == "ended"
        with pytest.raises(WorkflowQueryRejectedError, match="Query rejected, workflow status: COMPLETED"):
            await handle.query(Asked.status, reject_condition=QueryRejectCondition.NOT_OPEN)


async def test_what_a_query_cannot_do(lab: Lab) -> None:
    async with lab.worker(Asked):
        handle = await lab.start(Asked.run, "fine")
        with pytest.raises(WorkflowQueryFailedError, match=r"^not today$") as caught:
            await handle.query(Asked.breaks)
        assert caught.value.__cause__.type == "ValueError"
        with pytest.raises(WorkflowQueryFailedError, match="cannot start an activity in a query handler"):
            await handle.query(Asked.cheats)
        with pytest.raises(WorkflowQueryFailedError, match="in a query handler: it may look at the workflow, not change it"):
            await handle.query(Asked.draws)
        with pytest.raises(
            WorkflowQueryFailedError,
            match="workflow has no query handler 'nothing'; known queries: __stack_trace, breaks, cheats, draws, status",
        ):
            await handle.query("nothing")
        assert "in Asked.run" in await handle.query("__stack_trace")
        assert await handle.result() == "fine"


async def test_without_a_worker_it_gives_up(lab: Lab) -> None:
    handle = await lab.start(Asked.run, "fine")
    question = asyncio.create_task(handle.query(Asked.status, rpc_timeout="5s"))
    await asyncio.sleep(0)
    await lab.env.sleep("6s")  # longer: the sleep may begin before the query arrives
    with pytest.raises(RPCError, match="query 'status' on 'flow-1': no worker has this workflow's code") as caught:
        await question
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


# --- cancelling -----------------------------------------------------------------------------------------------------


@activity.defn
async def clean(what: str) -> str:
    return f"cleaned {what}"


@workflow.defn
class Cancels:
    @workflow.run
    async def run(self, how: str) -> str:
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            if how == "catch":
                return f"caught: {workflow.cancellation_reason()}"
            if how == "other":
                raise ApplicationError("failed instead") from None
            raise
        finally:
            if how == "clean":
                await workflow.execute_activity(clean, "up", start_to_close_timeout=10)
        return "?"


async def cancelled(lab: Lab, how: str, **options):
    handle = await lab.start(Cancels.run, how)
    await lab.event(handle, "WorkflowTaskCompleted")
    await handle.cancel(**options)
    return handle


async def test_it_may_be_caught(lab: Lab) -> None:
    async with lab.worker(Cancels):
        handle = await cancelled(lab, "catch", reason="too expensive")
        assert await handle.result() == "caught: too expensive"


async def test_or_raised_again(lab: Lab) -> None:
    async with lab.worker(Cancels):
        handle = await cancelled(lab, "raise")
        (error,) = await causes(handle.result())
    assert isinstance(error, CancelledError)
    assert (await handle.describe()).status.name == "CANCELED"


async def test_cleaning_up_takes_activities(lab: Lab) -> None:
    async with lab.worker(Cancels, clean):
        handle = await cancelled(lab, "clean")
        (error,) = await causes(handle.result())
    assert isinstance(error, CancelledError)
    names = await events_of(handle)
    assert "ActivityTaskCompleted" in names
    assert names[-1] == "WorkflowExecutionCanceled"


async def test_or_fail_for_another_reason(lab: Lab) -> None:
    async with lab.worker(Cancels):
        (error,) = await causes((await cancelled(lab, "other")).result())
    assert error.message == "failed instead"


async def test_asking_twice_is_no_error_and_asks_once(lab: Lab) -> None:
    handle = await lab.start(Cancels.run, "raise")
    await handle.cancel()
    await handle.cancel()
    async with lab.worker(Cancels):
        await causes(handle.result())
    assert (await events_of(handle)).count("WorkflowExecutionCancelRequested") == 1


async def test_only_the_chain_that_was_meant(lab: Lab) -> None:
    first = await lab.start(Sleep.run, "1m", id="w")
    await first.terminate()
    second = await lab.start(Sleep.run, "1m", id="w")
    for call in (first.cancel(), first.terminate()):
        with pytest.raises(RPCError) as caught:
            await call
        assert caught.value.status is RPCStatusCode.NOT_FOUND
    await second.terminate()


# --- terminating ----------------------------------------------------------------------------------------------------


async def test_ending_at_once(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def works() -> None:
        gate.pass_in_thread()

    async with lab.worker(Ends, works):
        handle = await lab.start(Ends.run, "works")
        await gate.arrived()
        await handle.terminate("detail", 7, reason="wrong data")
        (error,) = await causes(handle.result())
        gate.open()
    assert isinstance(error, TerminatedError)
    assert (str(error), list(error.details)) == ("wrong data", ["detail", 7])
    assert (await events_of(handle))[-1] == "WorkflowExecutionTerminated"


@workflow.defn
class Ends:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(name, start_to_close_timeout="1h")
