"""The activity machine. Numbers are those of the specification's list of subtleties."""

from __future__ import annotations

from typing import Any

import pytest
from activity_rig import FLAKY, IN_STATE, ONCE, released, running, timed_out
from engine_rig import COMPLETE, START, Rig, activity, application, started, value
from msgspec.structs import replace

from flowkernel.engine import inputs
from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, InvalidRequest
from flowkernel.model.execution import ActivityState
from flowkernel.model.failures import RetryState, TimeoutType
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import RetryPolicy
from flowkernel.model.records import ActivityAttemptFailed, ActivityOutputCaptured
from flowkernel.model.tasks import ActivityTaskReady

# --- scheduling -------------------------------------------------------------------------------------------------------

# Given: schedule-to-close, schedule-to-start, start-to-close, heartbeat, run timeout. Kept: the first four.
TIMEOUTS = [
    ((0, 0, 10, 0, 0), (0, 0, 10, 0)),
    ((30, 0, 0, 0, 0), (30, 30, 30, 0)),
    ((30, 50, 50, 0, 0), (30, 30, 30, 0)),
    ((30, 5, 10, 20, 0), (30, 5, 10, 10)),
    ((0, 0, 10, 0, 60), (60, 60, 10, 0)),
    ((0, 0, 90, 80, 60), (60, 60, 60, 60)),
    ((90, 0, 0, 0, 60), (60, 60, 60, 0)),
]


@pytest.mark.parametrize(("given", "kept"), TIMEOUTS)
def test_timeouts_that_were_left_out_are_filled_in_and_none_outlasts_the_run(given, kept):
    close, start, run, heartbeat, run_timeout = (seconds * SECOND for seconds in given)
    command = activity(
        schedule_to_close_timeout=close,
        schedule_to_start_timeout=start,
        start_to_close_timeout=run,
        heartbeat_timeout=heartbeat,
    )
    scheduled = started(command, run_timeout=run_timeout).attributes("ActivityTaskScheduled")
    found = (
        scheduled.schedule_to_close_timeout,
        scheduled.schedule_to_start_timeout,
        scheduled.start_to_close_timeout,
        scheduled.heartbeat_timeout,
    )
    assert found == tuple(seconds * SECOND for seconds in kept)


def test_an_activity_without_a_policy_is_retried_without_limit():
    scheduled = started(activity()).attributes("ActivityTaskScheduled")
    assert scheduled.retry_policy == RetryPolicy()


def test_it_waits_for_a_worker():
    rig = started(activity())
    assert rig.last.ready == (ActivityTaskReady(rig.execution.ref, 5, 1),)
    assert rig.pending().state is ActivityState.SCHEDULED


# --- attempts ---------------------------------------------------------------------------------------------------------


def test_42_the_started_event_comes_with_the_end():
    rig = started(activity())
    assert rig.happened(rig.begin()) == ["ActivityAttemptStarted"]
    rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY))
    rig.advance(SECOND)
    rig.begin(worker="another")
    transition = rig.ask(req.RespondActivityTaskCompleted(rig.attempt(), value("done")))
    assert rig.happened(transition) == ["ActivityTaskStarted", "ActivityTaskCompleted", "WorkflowTaskScheduled"]
    start, end = transition.events[0], transition.events[1]
    assert (start.attributes.attempt, start.attributes.last_failure, start.attributes.identity) == (2, FLAKY, "another")
    assert (end.attributes.started_event_id, end.attributes.result) == (start.event_id, value("done"))
    assert rig.execution.activities == {}
    assert rig.execution.activity_ids == {}


@pytest.mark.parametrize("state", [s for s in ActivityState if s is not ActivityState.SCHEDULED])
def test_an_attempt_that_does_not_wait_cannot_begin(state):
    rig = IN_STATE[state]()
    with pytest.raises(ExecutionNotFound):
        rig.begin()


def test_another_attempt_than_the_one_that_waits_cannot_begin():
    rig = started(activity())
    with pytest.raises(ExecutionNotFound):
        rig.ask(inputs.StartActivityTask(5, 2, "worker"))
    with pytest.raises(ExecutionNotFound):
        rig.ask(inputs.StartActivityTask(4, 1, "worker"))


def test_a_failed_attempt_leaves_a_record_and_the_next_begins_after_the_pause():
    rig = running(retry_policy=RetryPolicy(initial_interval=4 * SECOND))
    transition = rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY))
    assert rig.happened(transition) == ["ActivityAttemptFailed"]
    record = transition.records[0]
    assert isinstance(record, ActivityAttemptFailed)
    assert (record.attempt, record.failure, record.next_attempt_time) == (1, FLAKY, START + 4 * SECOND)
    assert rig.advance(4 * SECOND - 1) == []
    assert rig.pending().state is ActivityState.BACKING_OFF
    rig.advance(1)
    assert rig.pending().state is ActivityState.SCHEDULED
    assert rig.ready[-1] == ActivityTaskReady(rig.execution.ref, 5, 2)


def test_without_a_pause_the_next_attempt_is_offered_at_once():
    rig = running()
    transition = rig.ask(req.RespondActivityTaskFailed(rig.attempt(), application("Flaky", next_retry_delay=0)))
    assert transition.ready == (ActivityTaskReady(rig.execution.ref, 5, 2),)


@pytest.mark.parametrize(
    ("failure", "policy", "state"),
    [
        (FLAKY, ONCE, RetryState.MAXIMUM_ATTEMPTS_REACHED),
        (FLAKY, RetryPolicy(non_retryable_error_types=("Flaky",)), RetryState.NON_RETRYABLE_FAILURE),
        (application("Flaky", non_retryable=True), RetryPolicy(), RetryState.NON_RETRYABLE_FAILURE),
        (FLAKY, RetryPolicy(initial_interval=60 * SECOND), RetryState.TIMEOUT),
    ],
)
def test_a_failure_for_good(failure, policy, state):
    rig = running(schedule_to_close_timeout=30 * SECOND, retry_policy=policy)
    transition = rig.ask(req.RespondActivityTaskFailed(rig.attempt(), failure))
    assert rig.happened(transition) == ["ActivityTaskStarted", "ActivityTaskFailed", "WorkflowTaskScheduled"]
    failed = rig.attributes("ActivityTaskFailed")
    assert (failed.failure, failed.retry_state) == (failure, state)


# --- answers ----------------------------------------------------------------------------------------------------------

ANSWERS = {
    "completed": req.RespondActivityTaskCompleted,
    "failed": lambda target: req.RespondActivityTaskFailed(target, FLAKY),
    "canceled": req.RespondActivityTaskCanceled,
    "heartbeat": req.RecordActivityTaskHeartbeat,
    "output": lambda target: req.RecordActivityTaskOutput(target, ()),
    "released": req.ReleaseActivityTask,
}
BY_NAME_BEFORE_A_WORKER_HAS_IT = {"completed"}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("state", [ActivityState.SCHEDULED, ActivityState.BACKING_OFF])
def test_an_attempt_that_does_not_run_takes_no_answers(answer, state):
    rig = IN_STATE[state]()
    count = len(rig.history) + len(rig.records)
    with pytest.raises(ExecutionNotFound):
        rig.ask(ANSWERS[answer](rig.attempt()))
    if answer not in BY_NAME_BEFORE_A_WORKER_HAS_IT:
        with pytest.raises(ExecutionNotFound):
            rig.ask(ANSWERS[answer](rig.by_name()))
    assert len(rig.history) + len(rig.records) == count


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_attempt_before_takes_no_answers(answer):
    rig = running()
    late = rig.attempt()
    rig.advance(10 * SECOND)
    rig.advance(SECOND)
    rig.begin()
    with pytest.raises(ExecutionNotFound):
        rig.ask(ANSWERS[answer](late))
    with pytest.raises(ExecutionNotFound):
        rig.ask(ANSWERS[answer](replace(late, attempt=3)))


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("end", ["the activity", "the run"])
def test_after_the_end_there_are_no_answers(answer, end):
    rig = running()
    late, name = rig.attempt(), rig.by_name()
    if end == "the activity":
        rig.ask(req.RespondActivityTaskCompleted(late))
    else:
        rig.ask(req.TerminateWorkflowExecution("default", "order"))  # type: ignore[arg-type]
    for target in (late, name):
        with pytest.raises(ExecutionNotFound) as caught:
            rig.ask(ANSWERS[answer](target))
        assert caught.value.closed is (end == "the run")


@pytest.mark.parametrize("state", list(ActivityState))
def test_44_whoever_knows_its_name_may_complete_it_in_every_state(state):
    rig = IN_STATE[state]()
    transition = rig.ask(req.RespondActivityTaskCompleted(rig.by_name(), value("by hand"), "somebody"))
    assert rig.happened(transition) == ["ActivityTaskStarted", "ActivityTaskCompleted", "WorkflowTaskScheduled"]
    completed = rig.attributes("ActivityTaskCompleted")
    assert (completed.result, completed.identity) == (value("by hand"), "somebody")
    assert rig.advance(1000 * SECOND) == []


def test_an_unknown_name_is_not_found():
    rig = running()
    with pytest.raises(ExecutionNotFound):
        rig.ask(req.RespondActivityTaskCompleted(rig.by_name("other")))


def test_output_is_recorded_with_its_attempt():
    rig = running()
    piece = req.Output(START, "stdout", "hello")
    rig.ask(req.RecordActivityTaskOutput(rig.attempt(), (piece,)))
    transition = rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY, output=(piece,)))
    assert rig.happened(transition) == ["ActivityOutputCaptured", "ActivityAttemptFailed"]
    assert rig.records[1] == ActivityOutputCaptured(START, 5, 1, "stdout", "hello")


def test_output_does_not_prove_that_an_attempt_is_alive():
    rig = running(heartbeat_timeout=5 * SECOND)
    rig.advance(4 * SECOND)
    rig.ask(req.RecordActivityTaskOutput(rig.attempt(), (req.Output(rig.now, "stdout", "x"),)))
    assert rig.advance(SECOND) == ["ActivityAttemptFailed"]


# --- attempts whose worker is gone --------------------------------------------------------------------------------------


def lose(rig: Rig, attempt: int = 1) -> Any:
    return rig.ask(inputs.LoseActivityAttempt(5, attempt))


def test_a_lost_attempt_counts_and_the_next_follows_at_once():
    rig = running(retry_policy=RetryPolicy(initial_interval=100 * SECOND))
    transition = lose(rig)
    assert rig.happened(transition) == ["ActivityAttemptFailed"]
    assert transition.ready == (ActivityTaskReady(rig.execution.ref, 5, 2),)


def test_a_lost_attempt_that_was_the_only_one_is_the_end():
    rig = running(retry_policy=ONCE)
    lose(rig)
    assert timed_out(rig)[:2] == (TimeoutType.START_TO_CLOSE, RetryState.MAXIMUM_ATTEMPTS_REACHED)


def test_a_lost_attempt_of_a_policy_that_does_not_retry_heartbeat_timeouts_is_the_end():
    policy = RetryPolicy(non_retryable_error_types=("TemporalTimeout:Heartbeat",))
    rig = running(heartbeat_timeout=5 * SECOND, retry_policy=policy)
    lose(rig)
    assert timed_out(rig)[:2] == (TimeoutType.HEARTBEAT, RetryState.NON_RETRYABLE_FAILURE)


@pytest.mark.parametrize("state", [s for s in ActivityState if s is not ActivityState.STARTED])
def test_what_does_not_run_cannot_be_lost(state):
    rig = IN_STATE[state]()
    assert not lose(rig, rig.pending().attempt).writes


def test_an_earlier_attempt_cannot_be_lost_again():
    rig = running()
    lose(rig)
    rig.begin()
    assert not lose(rig, 1).writes


def test_44_a_released_attempt_still_has_its_timeouts():
    rig = released()
    assert rig.advance(10 * SECOND) == ["ActivityAttemptFailed"]


# --- cancellation -----------------------------------------------------------------------------------------------------


def cancel(rig: Rig, *others: cmd.Command) -> list[str]:
    rig.signal()
    before = len(rig.history)
    rig.task(cmd.RequestCancelActivityTask(5), *others)
    return [name for name in rig.since(before) if not name.startswith("WorkflowTask")]


@pytest.mark.parametrize("state", [ActivityState.SCHEDULED, ActivityState.BACKING_OFF])
def test_14_what_has_not_started_is_cancelled_at_once(state):
    rig = IN_STATE[state]()
    assert cancel(rig) == ["ActivityTaskCancelRequested", "ActivityTaskCanceled"]
    ended = rig.attributes("ActivityTaskCanceled")
    requested = rig.names.index("ActivityTaskCancelRequested") + 1
    assert (ended.started_event_id, ended.latest_cancel_requested_event_id) == (0, requested)
    assert rig.names[-1] == "WorkflowTaskScheduled"  # the code hears of it
    assert rig.advance(1000 * SECOND) == []


@pytest.mark.parametrize("state", [ActivityState.STARTED, ActivityState.RELEASED])
def test_39_a_running_attempt_hears_of_it_and_decides(state):
    rig = IN_STATE[state]()
    assert cancel(rig) == ["ActivityTaskCancelRequested"]
    assert rig.pending().cancel_requested
    assert rig.execution.workflow_task.scheduled_event_id == 0
    transition = rig.ask(req.RespondActivityTaskCanceled(rig.attempt(), value("undone")))
    assert rig.happened(transition) == ["ActivityTaskStarted", "ActivityTaskCanceled", "WorkflowTaskScheduled"]
    ended = rig.attributes("ActivityTaskCanceled")
    requested = rig.names.index("ActivityTaskCancelRequested") + 1
    assert (ended.details, ended.latest_cancel_requested_event_id) == (value("undone"), requested)


def test_14_it_may_also_complete():
    rig = running()
    cancel(rig)
    rig.ask(req.RespondActivityTaskCompleted(rig.attempt(), value("done")))
    assert rig.attributes("ActivityTaskCompleted").result == value("done")


@pytest.mark.parametrize("how", ["fails", "times out", "is lost"])
def test_once_cancellation_was_requested_nothing_is_retried(how):
    rig = running()
    cancel(rig)
    if how == "fails":
        rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY))
        assert rig.attributes("ActivityTaskFailed").retry_state is RetryState.CANCEL_REQUESTED
    else:
        if how == "times out":
            rig.advance(10 * SECOND)
        else:
            lose(rig)
        assert rig.attributes("ActivityTaskTimedOut").retry_state is RetryState.CANCEL_REQUESTED


def test_41_cancelled_without_a_request_is_refused():
    rig = running()
    with pytest.raises(InvalidRequest, match="'1': its cancellation was not requested"):
        rig.ask(req.RespondActivityTaskCanceled(rig.attempt()))
    assert rig.pending().state is ActivityState.STARTED


def test_a_cancellation_that_crosses_the_end_is_no_error():
    rig = running()
    rig.signal()
    rig.take()
    rig.ask(req.RespondActivityTaskCompleted(rig.attempt()))
    before = len(rig.history)
    rig.answer(cmd.RequestCancelActivityTask(5))
    assert rig.since(before) == [
        "WorkflowTaskStarted",
        "WorkflowTaskCompleted",
        "ActivityTaskCancelRequested",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "WorkflowTaskScheduled",
    ]


def test_an_id_may_be_used_again_after_the_end():
    rig = running()
    rig.ask(req.RespondActivityTaskCompleted(rig.attempt()))
    rig.task(activity())
    assert rig.pending().scheduled_event_id != 5


def test_an_open_activity_does_not_outlive_its_run():
    rig = running()
    rig.signal()
    rig.task(COMPLETE)
    assert rig.execution.activities == {}
    assert rig.advance(1000 * SECOND) == []
