from __future__ import annotations

import asyncio
import contextlib

import pytest

from flowkernel import workflow
from flowkernel.exceptions import ActivityError, ApplicationError
from flowkernel.model import commands as c
from flowkernel.replay.errors import NondeterminismError, WorkflowCodeError


def kinds(commands):
    return [type(command) for command in commands]


def test_the_result_closes_the_run(drive):
    async def run(a: int, b: int):
        return a + b

    driver = drive(run, 2, 3)
    assert driver.value(driver.task()) == 5
    assert driver.instance.closed


def test_an_application_error_fails_the_run(drive):
    async def run():
        raise ApplicationError("enough", 1, type="Full", non_retryable=True)

    (command,) = drive(run).task()
    assert (command.failure.message, command.failure.info.type, command.failure.info.non_retryable) == ("enough", "Full", True)


class Mine(Exception):
    pass


@pytest.mark.parametrize("where", ["definition", "worker"])
def test_configured_exceptions_fail_the_run(drive, where):
    async def run():
        raise Mine("mine")

    options = (
        {"definition": {"failure_exception_types": (Mine,)}} if where == "definition" else {"failure_exception_types": [Mine]}
    )
    (command,) = drive(run, **options).task()
    assert command.failure.info.type == "Mine"


@pytest.mark.parametrize("error", [KeyError("k"), SystemExit(3), BaseException("odd")])
def test_other_exceptions_suspend_the_run(drive, error):
    async def run():
        await asyncio.sleep(0)
        raise error

    driver = drive(run)
    with pytest.raises(
        WorkflowCodeError, match=r"workflow 'test': its code raised .*test_closing\.py:\d+.*suspended, not failed"
    ) as caught:
        driver.task()
    assert caught.value.__cause__ is error
    with pytest.raises(Exception, match="Drop it"):
        driver.instance.activate(())


def test_is_failure_exception(drive):
    async def run():
        return [workflow.is_failure_exception(error) for error in (ApplicationError("x"), TimeoutError(), KeyError())]

    driver = drive(run)
    assert driver.value(driver.task()) == [True, True, False]


def test_input_that_cannot_be_read_suspends(drive):
    async def run(n: int):
        return n

    with pytest.raises(WorkflowCodeError, match="Failed decoding arguments"):
        drive(run, "no number").task()


def test_a_result_that_cannot_be_converted_suspends(drive):
    async def run():
        return object()

    with pytest.raises(WorkflowCodeError, match="object"):
        drive(run).task()


# --- cancellation of the run ------------------------------------------------------------------------------------------


def test_a_requested_cancellation_that_escapes_closes_as_cancelled(drive):
    async def run():
        await workflow.wait_condition(lambda: False)

    driver = drive(run)
    driver.task()
    driver.history.cancel_requested("enough")
    assert driver.task() == (c.CancelWorkflowExecution(),)


def test_the_reason_can_be_read_and_the_cancellation_caught(drive):
    async def run():
        before = workflow.cancellation_reason()
        try:
            await workflow.sleep(60)
        except asyncio.CancelledError:
            return [before, workflow.cancellation_reason()]

    driver = drive(run)
    driver.task()
    driver.history.cancel_requested("")
    commands = driver.task()
    assert kinds(commands) == [c.CancelTimer, c.CompleteWorkflowExecution]
    assert driver.value(commands[1:]) == [None, ""]


def test_a_cancellation_in_the_first_task_reaches_run(drive):
    async def run():
        try:
            await workflow.sleep(60)
        except asyncio.CancelledError:
            return "seen"

    driver = drive(run)
    driver.history.cancel_requested("early")
    assert driver.value(driver.task()) == "seen"


def test_cancelling_an_awaited_activity_closes_as_cancelled(drive):
    async def run():
        await workflow.execute_activity("load", start_to_close_timeout=1)

    driver = drive(run)
    driver.task()
    driver.history.cancel_requested()
    assert kinds(driver.task()) == [c.RequestCancelActivityTask, c.CancelWorkflowExecution]


def test_a_cancelled_activity_without_a_request_is_a_failure(drive):
    async def run():
        handle = workflow.start_activity("load", start_to_close_timeout=1)
        await workflow.sleep(1)
        handle.cancel()
        await handle

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1")
    assert kinds(driver.task()) == [c.RequestCancelActivityTask, c.FailWorkflowExecution]


def test_cancellation_is_a_state(drive):
    """Requested once and swallowed, it still decides what a later cancelled activity means."""

    async def run():
        with contextlib.suppress(asyncio.CancelledError):
            await workflow.sleep(60)
        handle = workflow.start_activity("clean", start_to_close_timeout=1)
        await workflow.sleep(1)
        handle.cancel()
        try:
            await handle
        except ActivityError:
            raise

    driver = drive(run)
    driver.task()
    driver.history.cancel_requested()
    driver.task()
    driver.history.timer_fired("2")
    assert kinds(driver.task()) == [c.RequestCancelActivityTask, c.CancelWorkflowExecution]


def test_shielded_clean_up_goes_on(drive):
    async def run():
        async def clean():
            await workflow.execute_activity("clean", start_to_close_timeout=1)

        try:
            await workflow.sleep(60)
        finally:
            await asyncio.shield(clean())

    driver = drive(run)
    driver.task()
    driver.history.cancel_requested()
    assert kinds(driver.task()) == [c.CancelTimer, c.ScheduleActivityTask]
    driver.history.activity_completed("1")
    assert driver.task() == (c.CancelWorkflowExecution(),)


# --- after the end ----------------------------------------------------------------------------------------------------


def test_the_end_comes_last(drive):
    """What other tasks ask for in the same activation counts too, as in Temporal's core since it moves terminal commands."""

    async def run():
        async def late():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            workflow.start_activity("late", start_to_close_timeout=1)

        asyncio.create_task(late())  # noqa: RUF006 - the loop keeps it
        return "done"

    assert kinds(drive(run).task()) == [c.ScheduleActivityTask, c.CompleteWorkflowExecution]


def test_what_follows_only_after_the_end_is_dropped(drive):
    """The abandoned activity raises when all has come to rest; by then the run has ended."""

    async def run():
        async def background():
            handle = workflow.start_activity(
                "slow", start_to_close_timeout=1, cancellation_type=workflow.ActivityCancellationType.ABANDON
            )
            workflow.set_signal_handler("stop", lambda: handle.cancel() and None)
            try:
                await handle
            except ActivityError:
                await workflow.sleep(60)

        task = asyncio.create_task(background())
        await workflow.sleep(1)
        task.cancel()
        return "done"

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == "done"


def test_what_was_asked_for_before_the_end_is_kept(drive):
    async def run():
        workflow.start_activity("fire and forget", start_to_close_timeout=1)
        await asyncio.sleep(0)

    assert kinds(drive(run).task()) == [c.ScheduleActivityTask, c.CompleteWorkflowExecution]


def test_the_first_of_two_ends_counts(drive):
    async def run():
        def fail():
            raise ApplicationError("too late")

        workflow.set_signal_handler("end", lambda: None)
        await workflow.wait_condition(lambda: workflow.get_signal_handler("end") is not None)
        asyncio.get_running_loop().call_soon(lambda: None)
        return "first"

    driver = drive(run)
    driver.history.signaled("end")
    assert driver.value(driver.task()) == "first"


@pytest.mark.parametrize("ending", ["terminated", "timed_out"])
def test_a_run_ended_from_outside_runs_no_code(drive, ending):
    ran: list[str] = []

    async def run():
        try:
            await workflow.sleep(60)
        finally:
            ran.append("finally")

    driver = drive(run)
    driver.task()
    driver.history.signaled("x").task()
    getattr(driver.history, ending)()
    assert driver.instance.activate(driver.history.since(driver.instance.last_event_id)) == ()
    assert driver.instance.closed
    assert ran == []


# --- non-determinism as a failure -------------------------------------------------------------------------------------


def test_nondeterminism_can_fail_the_run(drive):
    async def run():
        await workflow.sleep(1)

    driver = drive(run, failure_exception_types=[workflow.NondeterminismError])
    driver.failed = True
    driver.history.completed_task().activity_scheduled("load", activity_id="1").activity_completed("1")
    (command,) = driver.task()
    assert command.failure.info.type == NondeterminismError.__name__
