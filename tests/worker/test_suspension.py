"""Workflow code that fails is suspended and mended; code that is missing is waited for or named."""

from __future__ import annotations

import logging

import pytest
from laboratory import QUEUE, Call, Lab, Sleep, causes, events_of, named

from flowkernel import activity, workflow
from flowkernel.client import RPCError, RPCStatusCode
from flowkernel.exceptions import ApplicationError
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.worker import Worker, WorkerConfigError

pytestmark = pytest.mark.anyio

runs: list[str] = []


@activity.defn
async def step(name: str) -> str:
    runs.append(name)
    return name


@workflow.defn(name="Order")
class Broken:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(step, "first", start_to_close_timeout=10)
        return {"a": 1}["b"]


@workflow.defn(name="Order")
class Mended:
    @workflow.run
    async def run(self) -> str:
        first = await workflow.execute_activity(step, "first", start_to_close_timeout=10)
        return f"{first}, mended"


@workflow.defn(name="Order")
class Reordered:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(1)
        return "other"


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "application":
            raise ApplicationError("no tea", {"left": 0}, type="OutOfStock")
        if how == "timeout":
            raise TimeoutError("too slow")
        raise LookupError("unexpected")


async def test_a_bug_suspends_and_better_code_carries_on(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    runs.clear()
    async with lab.worker(Broken, step) as worker:
        handle = await lab.start(Broken.run)
        failed = await lab.event(handle, "WorkflowTaskFailed")
        assert failed.cause is WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
        assert (failed.failure.info.type, failed.failure.message) == ("KeyError", "'b'")
        assert 'return {"a": 1}["b"]' in failed.failure.stack_trace
        assert "flowkernel/replay" not in failed.failure.stack_trace
        with lab.env.auto_time_skipping_disabled():
            for minutes in (1, 2):
                await lab.env.sleep(f"{minutes}m")
                assert (await handle.describe()).status.name == "RUNNING"
            worker.register_workflow(Mended)
            assert await handle.result() == "first, mended"
    assert (await events_of(handle)).count("WorkflowTaskFailed") == 1
    assert runs == ["first"]
    (record,) = [record for record in caplog.records if record.name == "flowkernel.worker.suspended"]
    assert record.levelno == logging.WARNING
    assert "workflow 'flow-1': its code raised KeyError: 'b' (" in record.message
    assert "The execution is suspended, not failed: mend the code and it carries on." in record.message


async def test_a_new_worker_with_better_code_carries_on(lab: Lab) -> None:
    async with lab.worker(Broken, step):
        handle = await lab.start(Broken.run)
        await lab.event(handle, "WorkflowTaskFailed")
    async with lab.worker(Mended, step):
        assert await handle.result() == "first, mended"


async def test_code_that_does_not_fit_the_history(lab: Lab) -> None:
    async with lab.worker(Broken, step) as worker:
        handle = await lab.start(Broken.run)
        await lab.event(handle, "WorkflowTaskFailed")
        worker.register_workflow(Reordered)
        misfit = WorkflowTaskFailedCause.NON_DETERMINISTIC_ERROR
        record = await lab.seen(handle, lambda item: named("WorkflowTaskAttemptFailed")(item) and item.cause is misfit)
        assert "event 5 recorded ActivityTaskScheduled (activity 'step', id '1'), but the code at " in record.failure.message
        assert "test_suspension.py:47 now asks for StartTimer (timer '1')" in record.failure.message
        assert "Bring back the code that made this history" in record.failure.message
        worker.register_workflow(Mended)
        assert await handle.result() == "first, mended"


async def test_failures_that_are_meant_fail_it(lab: Lab) -> None:
    async with lab.worker(Fails):
        (error,) = await causes(lab.run(Fails.run, "application"))
        assert (error.type, error.message, list(error.details)) == ("OutOfStock", "no tea", [{"left": 0}])
        (error,) = await causes(lab.run(Fails.run, "timeout"))
        assert (error.type, error.message) == ("TimeoutError", "too slow")


async def test_a_worker_can_say_that_other_errors_fail_it(lab: Lab) -> None:
    async with lab.worker(Fails, workflow_failure_exception_types=[LookupError]):
        (error,) = await causes(lab.run(Fails.run, "bug"))
    assert (error.type, error.message) == ("LookupError", "unexpected")


async def test_a_query_on_failing_code(lab: Lab) -> None:
    async with lab.worker(Broken, step):
        handle = await lab.start(Broken.run)
        await lab.event(handle, "WorkflowTaskFailed")
        await lab.env.sleep("1m")
        with pytest.raises(RPCError, match="Unable to query workflow due to Workflow Task in failed state") as caught:
            await handle.query("anything")
    assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION


# --- code that is not there -----------------------------------------------------------------------------------------


async def test_an_unregistered_workflow(lab: Lab) -> None:
    async with lab.worker(Call, Sleep) as worker:
        handle = await lab.start("Order")
        failed = await lab.event(handle, "WorkflowTaskFailed")
        assert failed.failure.message == (
            "Workflow class Order is not registered on this worker, available workflows: Call, Sleep"
        )
        worker.register_activity(step)
        worker.register_workflow(Mended)
        assert await handle.result() == "first, mended"


async def test_an_unregistered_activity_is_tried_again(lab: Lab) -> None:
    async with lab.worker(Call, step) as worker:
        handle = await lab.start_call("other")
        failed = await lab.seen(handle, named("ActivityAttemptFailed"))
        assert (failed.failure.info.type, failed.failure.message) == (
            "NotFoundError",
            "Activity function other is not registered on this worker, available activities: step",
        )

        @activity.defn
        def other() -> str:
            return "here now"

        worker.register_activity(other)
        assert await handle.result() == "here now"


async def test_a_worker_may_leave_unknown_types_to_others(lab: Lab) -> None:
    @activity.defn
    async def late() -> str:
        return "came late"

    async with lab.worker(Sleep, waits_for_unknown_types=True) as patient:
        handle = await lab.start_call(late)
        other = await lab.start(Sleep.run, "1h")
        assert await other.result() == "slept 1h"
        assert await events_of(handle) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]
        patient.register_workflow(Call)
        await lab.event(handle, "ActivityTaskScheduled")
        patient.register_activity(late)
        assert await handle.result() == "came late"
    assert "WorkflowTaskFailed" not in await events_of(handle)


async def test_workers_that_cannot_work(lab: Lab) -> None:
    with pytest.raises(WorkerConfigError, match="worker on 'lab': give it at least one activity or workflow"):
        lab.worker()
    with pytest.raises(WorkerConfigError, match="worker: more than one of its workflows is called 'Order'"):
        lab.worker(Broken, Mended)
    with pytest.raises(WorkerConfigError, match="worker: more than one of its activities is called 'step'"):
        lab.worker(step, step)
    with pytest.raises(TypeError, match=r"dict is not a workflow: decorate the class with @workflow.defn"):
        lab.worker(dict)
    with pytest.raises(TypeError, match=r"print is not an activity: decorate it with @activity.defn"):
        Worker(lab.client, task_queue=QUEUE, activities=[print])
