"""The workflow task machine. Numbers in names and comments are those of the specification's list of subtleties."""

from __future__ import annotations

import pytest
from engine_rig import BUG, COMPLETE, START, Rig, activity, started
from msgspec.structs import replace

from flowkernel.engine import inputs
from flowkernel.engine.workflow_task import backoff
from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound
from flowkernel.model.execution import WorkflowTaskState
from flowkernel.model.failures import Failure
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import WorkflowTaskFailedCause as Cause
from flowkernel.model.tasks import TaskToken, WorkflowTaskReady


def test_a_run_begins_with_its_first_task():
    rig = Rig()
    assert rig.names == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]
    assert rig.ready == [WorkflowTaskReady(rig.execution.ref, 2, 1)]


def test_a_lease_is_in_memory_only():
    rig = Rig()
    assert not rig.take().writes
    assert rig.execution.workflow_task.started_event_id == 3
    with pytest.raises(ExecutionNotFound):
        rig.take()


def test_an_answer_is_written_in_one_piece():
    rig = Rig()
    rig.now = START + SECOND
    rig.take()
    rig.now = START + 3 * SECOND
    transition = rig.answer(cmd.StartTimer("1", SECOND), cmd.RecordMarker("note"))
    assert rig.happened(transition) == ["WorkflowTaskStarted", "WorkflowTaskCompleted", "TimerStarted", "MarkerRecorded"]
    # 24: the code's clock is the time of the started event: when the worker took the task.
    assert [event.event_time for event in transition.events] == [START + SECOND, *3 * [START + 3 * SECOND]]
    assert rig.execution.workflow_task.state is WorkflowTaskState.NONE
    assert rig.execution.previous_started_event_id == 3


@pytest.mark.parametrize(
    "change",
    [{"attempt": 2}, {"started_event_id": 9}, {"scheduled_event_id": 1}],
    ids=["attempt", "started", "scheduled"],
)
def test_an_answer_with_another_token_is_refused(change):
    rig = Rig()
    rig.take()
    token: TaskToken = replace(rig.token, **change)
    with pytest.raises(ExecutionNotFound):
        rig.ask(req.RespondWorkflowTaskCompleted(token, (), "worker"))
    with pytest.raises(ExecutionNotFound):
        rig.ask(req.RespondWorkflowTaskFailed(token, BUG, Failure("bug")))


def test_an_answer_after_the_task_was_given_back_is_refused():
    rig = Rig()
    rig.take()
    token = rig.token
    rig.ask(inputs.ReturnWorkflowTask())
    with pytest.raises(ExecutionNotFound):
        rig.ask(req.RespondWorkflowTaskCompleted(token, (), "worker"))


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0), (2, 0), (3, 10), (4, 20), (5, 30), (6, 50), (9, 330), (10, 600), (60, 600)]
)
def test_the_pause_before_an_attempt(attempt, seconds):
    assert backoff(attempt) == seconds * SECOND  # 34: ten seconds, then five times a power of two more, ten minutes at most


def test_34_only_the_first_failure_in_a_row_is_an_event():
    rig = Rig()
    rig.take()
    assert rig.happened(rig.break_code()) == ["WorkflowTaskStarted", "WorkflowTaskFailed"]
    assert rig.execution.workflow_task.attempt == 2
    assert rig.last.ready == (WorkflowTaskReady(rig.execution.ref, 5, 2),)  # tried again at once
    rig.take()
    assert rig.happened(rig.break_code()) == ["WorkflowTaskAttemptFailed"]
    assert rig.execution.workflow_task.state is WorkflowTaskState.BACKING_OFF
    assert rig.last.ready == ()
    assert rig.advance(9 * SECOND) == []
    assert rig.execution.workflow_task.state is WorkflowTaskState.BACKING_OFF
    rig.advance(SECOND)
    assert rig.execution.workflow_task.state is WorkflowTaskState.SCHEDULED
    assert rig.execution.workflow_task.attempt == 3


def test_a_repeated_attempt_that_completes_is_written_in_full():
    rig = Rig()
    rig.take()
    rig.break_code()
    rig.advance(SECOND)
    rig.take()
    transition = rig.answer(cmd.StartTimer("1", SECOND))
    assert rig.happened(transition) == ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted", "TimerStarted"]
    assert transition.events[0].attributes.attempt == 2
    assert transition.events[2].attributes.scheduled_event_id == transition.events[0].event_id
    assert transition.events[2].attributes.started_event_id == transition.events[1].event_id


def test_news_ends_the_pause_and_makes_an_ordinary_first_attempt():
    rig = Rig()
    for _ in range(2):
        rig.take()
        rig.break_code()
    assert rig.execution.workflow_task.state is WorkflowTaskState.BACKING_OFF
    transition = rig.signal()
    assert rig.happened(transition) == ["WorkflowExecutionSignaled"]
    assert len(transition.ready) == 1
    taken = rig.take()
    assert rig.happened(taken) == ["WorkflowTaskScheduled"]
    assert rig.execution.workflow_task.attempt == 1
    assert rig.happened(rig.break_code()) == ["WorkflowTaskStarted", "WorkflowTaskFailed"]


def test_mended_code_is_tried_at_once():
    rig = Rig()
    for _ in range(2):
        rig.take()
        rig.break_code()
    transition = rig.ask(inputs.WakeWorkflowTask())
    assert not transition.writes
    assert transition.ready == (WorkflowTaskReady(rig.execution.ref, 5, 3),)
    assert rig.ask(inputs.WakeWorkflowTask()).ready == ()


# --- timeouts ---------------------------------------------------------------------------------------------------------


def test_a_worker_that_does_not_answer_loses_the_task():
    rig = Rig(task_timeout=3 * SECOND)
    rig.take()
    late = rig.token
    assert rig.advance(2 * SECOND) == []
    assert rig.advance(SECOND) == ["WorkflowTaskStarted", "WorkflowTaskTimedOut"]
    assert rig.execution.workflow_task.attempt == 2
    with pytest.raises(ExecutionNotFound):
        rig.ask(req.RespondWorkflowTaskCompleted(late, (), "worker"))
    rig.take()
    assert rig.advance(3 * SECOND) == ["WorkflowTaskAttemptFailed"]
    assert rig.execution.workflow_task.state is WorkflowTaskState.BACKING_OFF


@pytest.mark.parametrize("given_back", [False, True])
def test_a_deadline_of_an_earlier_lease_does_nothing(given_back):
    rig = Rig(task_timeout=3 * SECOND)
    rig.take()
    if given_back:
        rig.ask(inputs.ReturnWorkflowTask())
    else:
        rig.answer()
    assert rig.advance(10 * SECOND) == []


@pytest.mark.parametrize(("asked", "kept"), [(0, 10), (5, 5), (500, 120)])
def test_the_task_timeout_is_ten_seconds_by_default_and_two_minutes_at_most(asked, kept):
    assert Rig(task_timeout=asked * SECOND).execution.task_timeout == kept * SECOND


# --- events that come while a worker has the task -----------------------------------------------------------------------


def busy() -> Rig:
    """A run with an activity and a timer, whose code is running."""
    rig = started(activity("1"), cmd.StartTimer("1", 5 * SECOND))
    rig.begin("1")
    rig.signal("first")
    rig.take()
    return rig


def test_events_wait_for_the_answer_and_follow_it_in_order():
    rig = busy()
    before = len(rig.history)
    assert rig.happened(rig.signal("second")) == ["EventBuffered"]
    assert rig.advance(6 * SECOND) == ["EventBuffered"]  # the timer
    done = rig.ask(req.RespondActivityTaskCompleted(rig.attempt()))
    assert rig.happened(done) == ["EventBuffered", "EventBuffered"]  # started and completed
    assert len(rig.history) == before
    rig.answer(cmd.RecordMarker("note"))
    assert rig.since(before) == [
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "MarkerRecorded",
        "WorkflowExecutionSignaled",
        "TimerFired",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "WorkflowTaskScheduled",
    ]
    completed = rig.history[-2]
    assert completed.attributes.started_event_id == rig.history[-3].event_id
    assert [event.event_id for event in rig.history] == list(range(1, len(rig.history) + 1))
    assert rig.execution.buffered == ()


@pytest.mark.parametrize("how", ["fails", "times out", "is given back"])
def test_they_get_their_place_however_the_task_ends(how):
    rig = busy()
    rig.signal("second")
    before = len(rig.history)
    if how == "fails":
        rig.break_code()
        ending = ["WorkflowTaskStarted", "WorkflowTaskFailed"]
    elif how == "times out":
        rig.advance(10 * SECOND)
        ending = ["WorkflowTaskStarted", "WorkflowTaskTimedOut"]
    else:
        rig.ask(inputs.ReturnWorkflowTask())
        ending = []
    signaled = [name for name in rig.since(before) if name not in ("TimerFired", "ActivityTaskStarted", "ActivityTaskTimedOut")]
    assert signaled == [*ending, "WorkflowExecutionSignaled"]
    rig.take()
    rig.answer(COMPLETE)
    assert not rig.execution.open


def test_news_for_a_repeated_attempt_takes_its_pause_away():
    rig = Rig()
    rig.take()
    rig.break_code()
    rig.take()
    rig.signal()
    rig.break_code()
    assert rig.execution.workflow_task.state is WorkflowTaskState.SCHEDULED
    assert rig.names[-1] == "WorkflowExecutionSignaled"


@pytest.mark.parametrize(
    "closing", [COMPLETE, cmd.FailWorkflowExecution(Failure("no")), cmd.CancelWorkflowExecution()], ids=lambda c: type(c).__name__
)
def test_32_code_may_not_end_the_run_before_it_has_seen_everything(closing):
    rig = busy()
    rig.signal("second")
    before = len(rig.history)
    rig.answer(cmd.RecordMarker("lost"), closing)
    assert rig.since(before) == ["WorkflowTaskStarted", "WorkflowTaskFailed", "WorkflowExecutionSignaled"]
    assert rig.attributes("WorkflowTaskFailed").cause is Cause.UNHANDLED_COMMAND
    assert rig.execution.open
    rig.take()
    rig.answer(closing)
    assert not rig.execution.open


# --- bad commands -----------------------------------------------------------------------------------------------------

BAD_COMMANDS = {
    "activity id in use": (activity("1"), Cause.SCHEDULE_ACTIVITY_DUPLICATE_ID),
    "activity without timeout": (
        cmd.ScheduleActivityTask("2", "work", "queue"),
        Cause.BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
    ),
    "activity without id": (activity(""), Cause.BAD_SCHEDULE_ACTIVITY_ATTRIBUTES),
    "activity without type": (
        cmd.ScheduleActivityTask("2", "", "queue", start_to_close_timeout=SECOND),
        Cause.BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
    ),
    "activity with a negative timeout": (activity("2", heartbeat_timeout=-1), Cause.BAD_SCHEDULE_ACTIVITY_ATTRIBUTES),
    "cancelling what is no activity": (cmd.RequestCancelActivityTask(1), Cause.BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES),
    "timer id in use": (cmd.StartTimer("1", SECOND), Cause.START_TIMER_DUPLICATE_ID),
    "timer without id": (cmd.StartTimer("", SECOND), Cause.BAD_START_TIMER_ATTRIBUTES),
    "timer in the past": (cmd.StartTimer("2", -1), Cause.BAD_START_TIMER_ATTRIBUTES),
    "cancelling what is no timer": (cmd.CancelTimer("9"), Cause.BAD_CANCEL_TIMER_ATTRIBUTES),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_19_a_bad_command_fails_the_task_and_nothing_of_the_answer_counts(name):
    command, cause = BAD_COMMANDS[name]
    rig = started(activity("1"), cmd.StartTimer("1", 500 * SECOND))
    rig.signal()
    before = len(rig.history)
    rig.take()
    rig.answer(cmd.RecordMarker("lost"), command, COMPLETE)
    assert rig.since(before) == ["WorkflowTaskStarted", "WorkflowTaskFailed"]
    failed = rig.attributes("WorkflowTaskFailed")
    assert failed.cause is cause
    assert failed.failure.message
    assert rig.execution.open
    assert rig.execution.workflow_task.attempt == 2
    assert set(rig.execution.activity_ids) == set(rig.execution.timers) == {"1"}


def test_too_many_pending_activities_are_refused():
    rig = started(*(activity(str(number)) for number in range(2000)))
    rig.signal()
    rig.task(activity("one more"))
    assert rig.attributes("WorkflowTaskFailed").cause is Cause.PENDING_ACTIVITIES_LIMIT_EXCEEDED


@pytest.mark.parametrize("dropped", [activity("2"), cmd.StartTimer("2", SECOND), cmd.FailWorkflowExecution(Failure("second"))])
def test_8_what_comes_after_the_end_is_dropped(dropped):
    rig = started(COMPLETE, dropped)
    assert rig.names[-2:] == ["WorkflowTaskCompleted", "WorkflowExecutionCompleted"]
    assert rig.ready == [WorkflowTaskReady(rig.execution.ref, 2, 1)]
