from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flowkernel import workflow
from flowkernel.common import Priority, RetryPolicy
from flowkernel.exceptions import ActivityError, ApplicationError, CancelledError
from flowkernel.exceptions import TimeoutError as FlowTimeoutError
from flowkernel.model import commands as c
from flowkernel.model.failures import RetryState
from flowkernel.model.ids import SECOND
from flowkernel.replay.current import maybe_current
from flowkernel.replay.definitions import ACTIVITY_MARK, ActivityDefinition, WorkflowDefinition
from flowkernel.replay.errors import WorkflowCodeError
from flowkernel.replay.options import ActivityCancellationType, ActivityOptions


def load(name: str) -> dict[str, int]:
    """Decorated by hand; the face is tested elsewhere."""
    return {}


setattr(load, ACTIVITY_MARK, ActivityDefinition.make(load, options=ActivityOptions.parse(start_to_close_timeout="30s")))


class Shop:
    async def charge(self, amount: int) -> int:
        return amount

    async def __call__(self, amount: int) -> int:
        return amount


setattr(Shop.charge, ACTIVITY_MARK, ActivityDefinition.make(Shop.charge))
setattr(Shop.__call__, ACTIVITY_MARK, ActivityDefinition.make(Shop.__call__, name="shop"))


def failure_of(commands):
    (command,) = commands
    assert isinstance(command, c.FailWorkflowExecution)
    return command.failure


def test_schedules_with_every_option(drive):
    async def run():
        return await workflow.execute_activity(
            "load",
            args=[1, "two"],
            task_queue="other",
            schedule_to_close_timeout=timedelta(minutes=1),
            schedule_to_start_timeout=2.5,
            start_to_close_timeout="30s",
            heartbeat_timeout="500ms",
            retry_policy=RetryPolicy(maximum_attempts=3),
            activity_id="mine",
            summary="loading",
            priority=Priority(priority_key=1),
        )

    driver = drive(run)
    (command,) = driver.task()
    assert (command.activity_id, command.activity_type, command.task_queue) == ("mine", "load", "other")
    assert (command.schedule_to_close_timeout, command.schedule_to_start_timeout) == (60 * SECOND, 2_500_000_000)
    assert (command.start_to_close_timeout, command.heartbeat_timeout) == (30 * SECOND, SECOND // 2)
    assert command.retry_policy.maximum_attempts == 3
    assert command.priority.priority_key == 1
    assert [payload.data for payload in command.input] == [b"1", b'"two"']
    assert command.user_metadata.summary.data == b'"loading"'
    driver.history.activity_completed("mine", "done")
    assert driver.value(driver.task()) == "done"
    assert driver.instance.closed


def test_ids_count_up_and_the_queue_is_the_workflows(drive):
    async def run():
        one = workflow.start_activity("a", start_to_close_timeout=1)
        two = workflow.start_activity("b", start_to_close_timeout=1)
        return [await one, await two]

    driver = drive(run)
    commands = driver.task()
    assert [(command.activity_id, command.task_queue) for command in commands] == [("1", "queue"), ("2", "queue")]
    driver.history.activity_completed("2", "second")
    assert driver.task() == ()
    driver.history.activity_completed("1", "first")
    assert driver.value(driver.task()) == ["first", "second"]


def test_a_decorated_function_brings_its_options(drive):
    async def run():
        return await workflow.execute_activity(load, "x")

    (command,) = drive(run).task()
    assert (command.activity_type, command.start_to_close_timeout) == ("load", 30 * SECOND)


def test_methods_and_classes(drive):
    async def run():
        by_method = await workflow.execute_activity_method(Shop.charge, 5, start_to_close_timeout=1)
        return by_method + await workflow.execute_activity_class(Shop, 6, start_to_close_timeout=1)

    driver = drive(run)
    assert driver.task()[0].activity_type == "charge"
    driver.history.activity_completed("1", 5)
    assert driver.task()[0].activity_type == "shop"
    driver.history.activity_completed("2", 6)
    assert driver.value(driver.task()) == 11


def test_without_a_time_limit_the_task_fails(drive):
    async def run():
        await workflow.execute_activity("load")

    with pytest.raises(WorkflowCodeError, match=r"activity 'load' has no time limit.*test_activities\.py:\d+") as caught:
        drive(run).task()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_plain_call_takes_the_workflows_defaults(drive):
    definition = ActivityDefinition.make(lambda: None, name="plain")

    async def run():
        await maybe_current().call_activity(definition)

    defaults = ActivityOptions.parse(start_to_close_timeout="1h", retry_policy=RetryPolicy(maximum_attempts=2))
    driver = drive(WorkflowDefinition.of_function(run, activity_defaults=defaults))
    (command,) = driver.task()
    assert command.start_to_close_timeout == 3600 * SECOND
    assert command.retry_policy.maximum_attempts == 2


def test_a_plain_call_prefers_the_decorators_options(drive):
    definition = ActivityDefinition.make(lambda: None, name="plain", options=ActivityOptions.parse(start_to_close_timeout=5))

    async def run():
        await maybe_current().call_activity(definition)

    driver = drive(WorkflowDefinition.of_function(run, activity_defaults=ActivityOptions.parse(start_to_close_timeout="1h")))
    assert driver.task()[0].start_to_close_timeout == 5 * SECOND


def test_failure_reaches_the_code_as_activity_error_with_cause(drive):
    async def run():
        try:
            await workflow.execute_activity("load", start_to_close_timeout=1)
        except ActivityError as error:
            return [error.activity_type, error.activity_id, error.retry_state.name, error.cause.type, str(error.cause)]

    driver = drive(run)
    driver.task()
    driver.history.activity_failed("1", ApplicationError("no such file", type="Missing"))
    assert driver.value(driver.task()) == ["load", "1", "MAXIMUM_ATTEMPTS_REACHED", "Missing", "Missing: no such file"]


def test_an_activity_error_that_escapes_fails_the_run(drive):
    async def run():
        await workflow.execute_activity("load", start_to_close_timeout=1)

    driver = drive(run)
    driver.task()
    driver.history.activity_timed_out("1")
    failure = failure_of(driver.task())
    assert failure.info.retry_state is RetryState.TIMEOUT
    assert failure.cause.info.timeout_type.name == "START_TO_CLOSE"


def test_a_timeout_is_the_cause(drive):
    async def run():
        try:
            await workflow.execute_activity("load", start_to_close_timeout=1)
        except ActivityError as error:
            return isinstance(error.cause, FlowTimeoutError)

    driver = drive(run)
    driver.task()
    driver.history.activity_timed_out("1")
    assert driver.value(driver.task()) is True


def test_the_result_is_read_as_the_annotated_type(drive):
    async def run():
        return type(await workflow.execute_activity("when", result_type=timedelta | int, start_to_close_timeout=1)).__name__

    driver = drive(run)
    driver.task()
    driver.history.activity_completed("1", 5)
    assert driver.value(driver.task()) == "int"


# --- cancellation -----------------------------------------------------------------------------------------------------


def cancelling(kind, order):
    async def run():
        handle = workflow.start_activity("load", start_to_close_timeout=1, cancellation_type=kind)
        await workflow.sleep(1)
        handle.cancel()
        try:
            order.append(await handle)
        except ActivityError as error:
            order.append(type(error.cause).__name__)
        await workflow.sleep(1)

    return run


def test_try_cancel_asks_and_raises_at_once(drive):
    order: list[object] = []
    driver = drive(cancelling(ActivityCancellationType.TRY_CANCEL, order))
    driver.task()
    driver.history.timer_fired("1")
    commands = driver.task()
    assert [type(command) for command in commands] == [c.RequestCancelActivityTask, c.StartTimer]
    assert commands[0].scheduled_event_id == 5
    assert order == ["CancelledError"]
    driver.history.activity_completed("1", "too late")
    assert driver.task() == ()


def test_abandon_raises_at_once_and_asks_nothing(drive):
    order: list[object] = []
    driver = drive(cancelling(ActivityCancellationType.ABANDON, order))
    driver.task()
    driver.history.timer_fired("1")
    assert [type(command) for command in driver.task()] == [c.StartTimer]
    assert order == ["CancelledError"]
    driver.history.activity_failed("1", ApplicationError("nobody cares"))
    assert driver.task() == ()
    assert driver.reports == []


@pytest.mark.parametrize("ending", ["canceled", "completed"])
def test_wait_cancellation_completed_waits_for_the_real_end(drive, ending):
    order: list[object] = []
    driver = drive(cancelling(ActivityCancellationType.WAIT_CANCELLATION_COMPLETED, order))
    driver.task()
    driver.history.timer_fired("1")
    assert [type(command) for command in driver.task()] == [c.RequestCancelActivityTask]
    assert order == []
    if ending == "canceled":
        driver.history.activity_canceled("1")
    else:
        driver.history.activity_completed("1", "made it")
    assert [type(command) for command in driver.task()] == [c.StartTimer]
    assert order == ["CancelledError" if ending == "canceled" else "made it"]


def test_cancelled_before_it_was_sent_leaves_no_trace(drive):
    seen: list[str] = []

    async def run():
        handle = workflow.start_activity("load", start_to_close_timeout=1)
        await asyncio.sleep(0)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            seen.append(type(error.cause).__name__)
        await workflow.execute_activity("next", start_to_close_timeout=1)

    commands = drive(run).task()
    assert [(command.activity_type, command.activity_id) for command in commands] == [("next", "2")]
    assert seen[0] == "CancelledError"


def test_cancelled_before_it_ran_raises_asyncios_cancellation(drive):
    async def run():
        handle = workflow.start_activity("load", start_to_close_timeout=1)
        handle.cancel()
        try:
            await handle
        except asyncio.CancelledError:
            return "cancelled"

    driver = drive(run)
    assert driver.value(driver.task()) == "cancelled"


def test_repeated_cancels_ask_once(drive):
    async def run():
        handle = workflow.start_activity(
            "load", start_to_close_timeout=1, cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        )
        await workflow.sleep(1)
        for _ in range(3):
            handle.cancel()
            await asyncio.sleep(0)
        try:
            return await handle
        except ActivityError as error:
            return type(error.cause).__name__

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1")
    assert [type(command) for command in driver.task()] == [c.RequestCancelActivityTask]
    driver.history.activity_canceled("1")
    assert driver.value(driver.task()) == "CancelledError"


def test_a_cancelled_wait_for_leaves_the_task_uncancelled(drive):
    async def run():
        task = asyncio.current_task()
        handle = workflow.start_activity("load", start_to_close_timeout=1)
        try:
            await asyncio.wait_for(handle, 5)
        except (TimeoutError, ActivityError) as error:
            return [type(error).__name__, task.cancelling()]

    driver = drive(run)
    assert [type(command) for command in driver.task()] == [c.ScheduleActivityTask, c.StartTimer]
    driver.history.timer_fired("1")
    commands = driver.task()
    assert isinstance(commands[0], c.RequestCancelActivityTask)
    assert driver.value(commands[1:])[1] == 0


def test_completion_and_cancellation_in_one_task_ask_nothing(drive):
    """The activity ended already: a signal handler that cancels it is too late."""
    handles = []

    async def run():
        handles.append(workflow.start_activity("load", start_to_close_timeout=1))
        workflow.set_signal_handler("stop", lambda: handles[-1].cancel() and None)
        try:
            return await handles[-1]
        except (asyncio.CancelledError, ActivityError):
            return "cancelled"

    driver = drive(run)
    driver.task()
    driver.history.signaled("stop").activity_completed("1", "finished")
    commands = driver.task()
    assert [type(command) for command in commands] == [c.CompleteWorkflowExecution]
    handles.pop()


def test_gather_of_failures_reports_nothing_unexpected(drive):
    async def run():
        results = await asyncio.gather(
            *(workflow.execute_activity("load", n, start_to_close_timeout=1) for n in range(3)), return_exceptions=True
        )
        return [type(result).__name__ for result in results]

    driver = drive(run)
    driver.task()
    driver.history.activity_failed("2", ApplicationError("x")).activity_completed("1", 1).activity_completed("3", 3)
    assert driver.value(driver.task()) == ["int", "ActivityError", "int"]
    assert driver.reports == []


def test_cancelled_error_has_the_name_of_the_sdk():
    assert CancelledError("x").message == "x"
