from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flowkernel import workflow
from flowkernel.model import commands as c
from flowkernel.model.ids import SECOND
from flowkernel.replay.errors import WorkflowCodeError


@pytest.mark.parametrize(
    ("given", "nanoseconds"),
    [(0, 0), (2, 2 * SECOND), (0.07, 70_000_000), ("2s", 2 * SECOND), (timedelta(days=30), 2_592_000 * SECOND)],
)
def test_sleep_is_a_timer_even_of_zero(drive, given, nanoseconds):
    async def run():
        await workflow.sleep(given)
        return "awake"

    driver = drive(run)
    (command,) = driver.task()
    assert command == c.StartTimer("1", nanoseconds)
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == "awake"


def test_asyncio_sleep_of_zero_is_no_timer(drive):
    async def run():
        await asyncio.sleep(0)
        return 1

    driver = drive(run)
    assert driver.value(driver.task()) == 1


def test_asyncio_sleep_is_a_timer(drive):
    async def run():
        await asyncio.sleep(1.5)

    assert drive(run).task() == (c.StartTimer("1", 1_500_000_000),)


@pytest.mark.parametrize(
    "nap",
    [
        lambda: workflow.sleep(-1),
        lambda: workflow.sleep(timedelta(seconds=-1)),
        lambda: asyncio.get_running_loop().call_later(-1, print),
    ],
)
def test_a_negative_delay_suspends_the_workflow(drive, nap):
    async def run():
        coroutine = nap()
        await coroutine

    with pytest.raises(WorkflowCodeError, match="0 or more") as caught:
        drive(run).task()
    assert type(caught.value.__cause__) is RuntimeError


def test_summary_goes_with_the_timer(drive):
    async def run():
        await workflow.sleep(1, summary="nap")

    (command,) = drive(run).task()
    assert command.user_metadata.summary.data == b'"nap"'


def test_cancelled_before_it_was_sent_leaves_no_trace(drive):
    async def run():
        task = asyncio.create_task(workflow.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await workflow.sleep(1)

    assert drive(run).task() == (c.StartTimer("2", SECOND),)


def test_cancelled_later_asks_to_cancel_it(drive):
    async def run():
        task = asyncio.create_task(workflow.sleep(60))
        await workflow.sleep(1)
        task.cancel()
        await workflow.wait([task])
        return "done"

    driver = drive(run)
    assert [command.timer_id for command in driver.task()] == ["1", "2"]
    driver.history.timer_fired("1" if driver.history.events[4].attributes.start_to_fire_timeout == SECOND else "2")
    commands = driver.task()
    assert isinstance(commands[0], c.CancelTimer)
    assert driver.value(commands[1:]) == "done"


def test_fired_and_cancelled_in_one_task_asks_nothing(drive):
    tasks = []

    async def run():
        tasks.append(asyncio.create_task(workflow.sleep(1)))
        workflow.set_signal_handler("stop", lambda: tasks[-1].cancel() and None)
        await workflow.wait([tasks[-1]])
        return tasks.pop().cancelled()

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1").signaled("stop")
    assert driver.value(driver.task()) is True


def test_asyncio_timeout_and_wait_for_are_timers(drive):
    async def run():
        event = asyncio.Event()
        try:
            async with asyncio.timeout(5):
                await event.wait()
        except TimeoutError:
            pass
        try:
            await asyncio.wait_for(event.wait(), 2)
        except TimeoutError:
            return "twice"

    driver = drive(run)
    assert driver.task() == (c.StartTimer("1", 5 * SECOND),)
    driver.history.advance(5).timer_fired("1")
    assert driver.task() == (c.StartTimer("2", 2 * SECOND),)
    driver.history.advance(2).timer_fired("2")
    assert driver.value(driver.task()) == "twice"


def test_a_timeout_that_is_not_needed_is_cancelled(drive):
    async def run():
        event = asyncio.Event()
        workflow.set_signal_handler("go", event.set)
        async with asyncio.timeout(5):
            await event.wait()

    driver = drive(run)
    driver.task()
    driver.history.signaled("go")
    assert [type(command) for command in driver.task()] == [c.CancelTimer, c.CompleteWorkflowExecution]


def test_time_is_the_tasks_and_stands_still(drive):
    async def run():
        first = [workflow.time_ns(), workflow.time(), workflow.now().isoformat(), asyncio.get_running_loop().time()]
        for _ in range(3):
            await asyncio.sleep(0)
        assert workflow.time_ns() == first[0]
        await workflow.sleep(10)
        return [first, workflow.time_ns() - first[0]]

    driver = drive(run)
    driver.task()
    driver.history.advance("10s").timer_fired("1")
    first, later = driver.value(driver.task())
    assert first == [1_767_225_600 * SECOND, 1767225600.0, "2026-01-01T00:00:00+00:00", 1767225600.0]
    assert later == 10 * SECOND


# --- wait_condition ---------------------------------------------------------------------------------------------------


def test_conditions_are_looked_at_until_nothing_moves(drive):
    order: list[str] = []

    async def run():
        state = {"a": False, "b": False}

        async def second():
            await workflow.wait_condition(lambda: state["a"])
            order.append("a held")
            state["b"] = True

        async def third():
            await workflow.wait_condition(lambda: state["b"])
            order.append("b held")

        tasks = [asyncio.create_task(third()), asyncio.create_task(second())]
        state["a"] = True
        await asyncio.gather(*tasks)

    driver = drive(run)
    assert [type(command) for command in driver.task()] == [c.CompleteWorkflowExecution]
    assert order == ["a held", "b held"]


def test_without_timeout_there_is_no_timer(drive):
    async def run():
        await workflow.wait_condition(lambda: False)

    assert drive(run).task() == ()


def test_the_timeout_is_a_timer_with_its_summary(drive):
    async def run():
        try:
            await workflow.wait_condition(lambda: False, timeout="3s", timeout_summary="approval")
        except TimeoutError:
            return "late"

    driver = drive(run)
    (command,) = driver.task()
    assert (command.start_to_fire_timeout, command.user_metadata.summary.data) == (3 * SECOND, b'"approval"')
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == "late"


def test_a_timeout_of_zero_raises_at_once_without_a_timer(drive):
    async def run():
        try:
            await workflow.wait_condition(lambda: True, timeout=0, timeout_summary="never used")
        except TimeoutError:
            await workflow.sleep(1)

    (command,) = drive(run).task()
    assert command == c.StartTimer("1", SECOND)


def test_a_condition_that_raises_suspends_the_workflow(drive):
    async def run():
        await workflow.wait_condition(lambda: 1 / 0 > 0)

    with pytest.raises(WorkflowCodeError, match="division by zero"):
        drive(run).task()


def test_a_timeout_that_escapes_fails_the_run(drive):
    async def run():
        await workflow.wait_condition(lambda: False, timeout=1)

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1")
    (command,) = driver.task()
    assert command.failure.info.type == "TimeoutError"
