from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from flowkernel import workflow
from flowkernel.model import commands as c
from flowkernel.model.events import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    MarkerRecorded,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionCompleted,
)
from flowkernel.model.payloads import Payload
from flowkernel.replay.definitions import WorkflowDefinition
from flowkernel.replay.errors import NondeterminismError, OutdatedInstance
from flowkernel.replay.matching import COMMAND_EVENTS, RECORDED_AS, matches
from flowkernel.testing.histories import HistoryBuilder

ACTIVITY = c.ScheduleActivityTask("1", "load", "queue")


async def loads():
    return await workflow.execute_activity("load", start_to_close_timeout=1)  # LOADS


async def sleeps():
    await workflow.sleep(1)  # SLEEPS


async def returns():
    return 1


async def waits():
    await workflow.wait_condition(lambda: False)  # WAITS


def line_of(mark: str) -> int:
    with Path(__file__).open() as source:
        return next(number for number, line in enumerate(source, 1) if line.endswith(f"# {mark}\n"))


@pytest.mark.parametrize(
    ("command", "event", "expected"),
    [
        (ACTIVITY, ActivityTaskScheduled("1", "load", "elsewhere", (Payload(),)), True),
        (ACTIVITY, ActivityTaskScheduled("2", "load", "queue"), False),
        (ACTIVITY, ActivityTaskScheduled("1", "save", "queue"), False),
        (ACTIVITY, TimerStarted("1", 5), False),
        (c.RequestCancelActivityTask(5), ActivityTaskCancelRequested(5), True),
        (c.RequestCancelActivityTask(5), ActivityTaskCancelRequested(6), False),
        (c.StartTimer("1", 5), TimerStarted("1", 7), True),
        (c.StartTimer("1", 5), TimerStarted("2", 5), False),
        (c.CancelTimer("1"), TimerCanceled("1", 5), True),
        (c.CancelTimer("1"), TimerStarted("1", 5), False),
        (c.RecordMarker("m"), MarkerRecorded("m"), True),
        (c.RecordMarker("m"), MarkerRecorded("n"), False),
        (c.CompleteWorkflowExecution(), WorkflowExecutionCompleted((Payload(),)), True),
    ],
)
def test_what_must_be_the_same(command, event, expected):
    assert matches(command, event) is expected


def test_every_kind_of_command_has_a_row():
    assert set(RECORDED_AS) == set(c.Command.__args__)


def test_another_command_is_told_with_both_sides_and_the_line(drive):
    driver = drive(sleeps)
    driver.failed = True
    driver.history.completed_task().activity_scheduled("load", activity_id="1")
    with pytest.raises(NondeterminismError) as caught:
        driver.instance.activate(driver.history.events)
    assert str(caught.value) == (
        "workflow 'test': event 5 recorded ActivityTaskScheduled (activity 'load', id '1'), but the code at "
        f"{__file__}:{line_of('SLEEPS')} now asks for StartTimer (timer '1'). Bring back the code that made this history and the "
        "run carries on, or terminate it and start it anew with the new code."
    )
    assert caught.value.event_id == 5


def test_the_line_may_be_told_in_the_notebooks_words(drive):
    definition = WorkflowDefinition.of_function(sleeps, describe_line=lambda file, line: f"cell [5], line {line}")
    driver = drive(definition)
    driver.failed = True
    driver.history.completed_task().timer_started("7")
    with pytest.raises(NondeterminismError, match=re.escape(f"the code at cell [5], line {line_of('SLEEPS')} now asks for")):
        driver.instance.activate(driver.history.events)


def test_the_line_of_gathered_work_is_where_it_was_gathered(drive):
    async def run():
        await asyncio.gather(workflow.execute_activity("x", start_to_close_timeout=1), workflow.sleep(1))

    driver = drive(run)
    driver.failed = True
    driver.history.completed_task().timer_started("1").timer_started("2")
    with pytest.raises(NondeterminismError, match=r"test_matching\.py:\d+ now asks for ScheduleActivityTask \(activity 'x'"):
        driver.instance.activate(driver.history.events)


def test_history_that_the_code_does_not_ask_for(drive):
    driver = drive(waits)
    driver.failed = True
    driver.history.completed_task().activity_scheduled("load", activity_id="1")
    with pytest.raises(NondeterminismError, match=rf"event 5 recorded .*:{line_of('WAITS')} now asks for nothing more"):
        driver.instance.activate(driver.history.events)


def test_the_code_ended_where_the_history_goes_on(drive):
    driver = drive(returns)
    driver.failed = True
    driver.history.completed_task().timer_started("1")
    with pytest.raises(
        NondeterminismError, match=r"event 5 recorded TimerStarted \(timer '1'\), but .* CompleteWorkflowExecution\."
    ):
        driver.instance.activate(driver.history.events)


@pytest.mark.parametrize("goes_on", [True, False])
def test_the_code_asks_for_more_than_was_recorded(drive, goes_on):
    driver = drive(sleeps)
    driver.failed = True
    driver.history.completed_task()
    if goes_on:
        driver.history.signaled("x").task()
    expected = r"event 6 recorded WorkflowTaskScheduled" if goes_on else r"the history recorded nothing more after event 4"
    with pytest.raises(NondeterminismError, match=expected + r", but .*StartTimer \(timer '1'\)"):
        driver.instance.activate(driver.history.events)


def test_the_live_commands_are_compared_too(drive):
    driver = drive(loads)
    driver.failed = True
    driver.task()
    odd = HistoryBuilder("loads").completed_task().activity_scheduled("save", activity_id="1").task()
    with pytest.raises(NondeterminismError, match=r"event 5 recorded ActivityTaskScheduled .activity 'save'"):
        driver.instance.activate(odd.since(3))


# --- how a history is cut into activations ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["task_failed", "task_timed_out"])
def test_tasks_that_did_not_complete_never_happened(drive, ending):
    moments: list[tuple[object, ...]] = []

    async def run():
        workflow.set_signal_handler("x", lambda n: moments.append((n, workflow.now().second)))
        moments.append(("run", workflow.now().second, workflow.info().get_current_history_length()))
        await workflow.wait_condition(lambda: False)

    driver = drive(run)
    driver.history.signaled("x", 1).task()
    getattr(driver.history, ending)()
    driver.history.advance(10).signaled("x", 2)
    driver.task()
    assert moments == [("run", 10, 8), (1, 10), (2, 10)]
    moments.clear()


def test_replaying_is_true_for_what_is_answered_from_history(drive):
    async def run():
        flags = [workflow.unsafe.is_replaying()]
        await workflow.sleep(1)
        return [*flags, workflow.unsafe.is_replaying()]

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1").task()
    fresh = driver.make()
    assert driver.value(fresh.activate(driver.history.events)) == [True, False]
    assert driver.value(driver.instance.activate(driver.history.since(driver.instance.last_event_id))) == [False, False]
    driver.failed = True
    fresh.evict()


def test_any_split_of_a_history_replays_the_same(drive):
    driver = drive(loads)
    driver.history.signaled("early")
    driver.task()
    driver.history.activity_completed("1", 5)
    driver.task()
    events = driver.history.events
    for cut in range(len(events) + 1):
        if cut < len(events) and type(events[cut].attributes) in COMMAND_EVENTS:
            continue  # a task's completion and the events of its commands are written together
        instance = driver.make()
        instance.activate(events[:cut], answer=False)
        instance.activate(events[cut:], answer=False)
        assert instance.last_event_id == len(events)
        assert instance.closed
        instance.evict()


def test_events_must_continue_what_was_seen(drive):
    driver = drive(loads)
    driver.task()
    driver.failed = True
    with pytest.raises(OutdatedInstance, match=r"event 1 \(WorkflowExecutionStarted\) does not continue"):
        driver.instance.activate(driver.history.events)


def test_an_answer_that_was_refused_makes_the_instance_outdated(drive):
    driver = drive(loads)
    driver.history.task()
    driver.instance.activate(driver.history.events)
    driver.failed = True
    driver.history.task_failed().task()
    with pytest.raises(OutdatedInstance, match=r"event 4 \(WorkflowTaskFailed\)"):
        driver.instance.activate(driver.history.since(3))


def test_an_unstarted_cancelled_activity_is_closed_between_the_commands(drive):
    """The service closes it at once, so its end stands between the events of the commands."""

    async def run():
        handle = workflow.start_activity("load", start_to_close_timeout=1)
        await workflow.sleep(1)
        handle.cancel()
        await workflow.sleep(1)
        return handle.done() and handle.exception() is not None

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1").task()
    driver.instance.activate(driver.history.since(driver.instance.last_event_id))
    driver.history.task_completed().timer_started("2").activity_cancel_requested("1").activity_canceled("1").timer_fired("2")
    assert driver.value(driver.task()) is True
