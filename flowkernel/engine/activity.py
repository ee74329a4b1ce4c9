"""The activity machine.

An activity is *scheduled* (waits for a worker), *started* (an attempt runs), *backing off* (waits for its next attempt) or
*released* (the attempt runs on, but whoever completes it is not the worker). Retries leave records, no events: the
started event is written together with the end, with the number of the last attempt and the failure before it, as Temporal does.

`ANSWERS` and `DEADLINES` are the machine: what each answer and each deadline does in each state. A pair that is not in the table
is stale: answers are refused with "not found", deadlines ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from msgspec.structs import replace

from flowkernel.engine.bad_command import BadCommand
from flowkernel.engine.draft import ACTIVITY_CLOSE, Draft
from flowkernel.engine.inputs import LoseActivityAttempt, StartActivityTask
from flowkernel.engine.retry import DEFAULT_ACTIVITY_RETRY, next_attempt
from flowkernel.model.commands import RequestCancelActivityTask, ScheduleActivityTask
from flowkernel.model.errors import ExecutionNotFound, InvalidRequest
from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    ActivityTaskTimedOut,
)
from flowkernel.model.execution import ActivityState, PendingActivity
from flowkernel.model.failures import Failure, RetryState, TimeoutFailure, TimeoutType
from flowkernel.model.ids import Duration, EventId, Instant
from flowkernel.model.payloads import Payload
from flowkernel.model.policies import RetryPolicy, WorkflowTaskFailedCause
from flowkernel.model.records import (
    ActivityAttemptFailed,
    ActivityAttemptReleased,
    ActivityAttemptStarted,
    ActivityHeartbeatRecorded,
    ActivityOutputCaptured,
)
from flowkernel.model.requests import (
    ActivityAddress,
    Output,
    RecordActivityTaskHeartbeat,
    RecordActivityTaskOutput,
    ReleaseActivityTask,
    RespondActivityTaskCanceled,
    RespondActivityTaskCompleted,
    RespondActivityTaskFailed,
)
from flowkernel.model.tasks import ActivityTaskReady, Deadline, DeadlineKind

SCHEDULED, STARTED = ActivityState.SCHEDULED, ActivityState.STARTED
BACKING_OFF, RELEASED = ActivityState.BACKING_OFF, ActivityState.RELEASED

NOT_STARTED_DETAILS = (Payload({"encoding": b"json/plain"}, b'"ACTIVITY_ID_NOT_STARTED"'),)
MAXIMUM_PENDING = 2000


# --- commands -------------------------------------------------------------------------------------------------------


def schedule(draft: Draft, command: ScheduleActivityTask, completed: EventId) -> None:
    """The code asks for an activity.

    Raises:
        BadCommand: a duplicate id, too many pending activities, or timeouts that break a rule.
    """
    state = draft.state
    if command.activity_id in state.activity_ids:
        raise BadCommand(
            WorkflowTaskFailedCause.SCHEDULE_ACTIVITY_DUPLICATE_ID,
            f"activity id {command.activity_id!r} is already in use by an open activity of this run",
        )
    if len(state.activities) >= MAXIMUM_PENDING:
        raise BadCommand(
            WorkflowTaskFailedCause.PENDING_ACTIVITIES_LIMIT_EXCEEDED,
            f"{MAXIMUM_PENDING} activities are pending; wait for some before scheduling more",
        )
    event_id = draft.append(
        _scheduled_event(command, state.started.run_timeout, state.started.task_queue, completed), command.user_metadata
    )
    pending = state.activities[event_id]
    if pending.expiration_time:
        draft.deadlines.append(Deadline(pending.expiration_time, DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE, event_id))
    _offer(draft, pending)


def request_cancel(draft: Draft, command: RequestCancelActivityTask, completed: EventId) -> None:
    """The code asks to cancel an activity. One that has not started ends at once, with no worker needed.

    Raises:
        BadCommand: there is no such activity.
    """
    pending = draft.state.activities.get(command.scheduled_event_id)
    if pending is None and not _ended_unseen(draft, command.scheduled_event_id):
        raise BadCommand(
            WorkflowTaskFailedCause.BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES,
            f"no activity was scheduled by event {command.scheduled_event_id}, or it has ended",
        )
    requested = draft.append(ActivityTaskCancelRequested(command.scheduled_event_id, completed))
    if pending is not None and pending.state in (SCHEDULED, BACKING_OFF):
        draft.append(ActivityTaskCanceled(command.scheduled_event_id, 0, requested, NOT_STARTED_DETAILS))
        draft.news = True


def _ended_unseen(draft: Draft, scheduled_event_id: EventId) -> bool:
    return any(
        isinstance(event.attributes, ACTIVITY_CLOSE) and event.attributes.scheduled_event_id == scheduled_event_id
        for event in draft.state.buffered
    )


def _scheduled_event(
    command: ScheduleActivityTask, run_timeout: Duration, default_queue: str, completed: EventId
) -> ActivityTaskScheduled:
    """Fill in the timeouts that were left out, by the rules of Temporal's server."""
    close, start, run = (
        command.schedule_to_close_timeout,
        command.schedule_to_start_timeout,
        command.start_to_close_timeout,
    )
    problem = None
    if not command.activity_id or not command.activity_type:
        problem = "an activity needs an id and a type"
    elif min(close, start, run, command.heartbeat_timeout) < 0:
        problem = "a timeout is negative"
    elif not close and not run:
        problem = "set start_to_close_timeout or schedule_to_close_timeout"
    if problem:
        raise BadCommand(
            WorkflowTaskFailedCause.BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
            f"activity {command.activity_type!r} ({command.activity_id}): {problem}",
        )
    if close:
        start = min(start or close, close)
        run = min(run or close, close)
    else:
        close = run_timeout
        start = start or run_timeout
    if run_timeout:
        close, start, run = min(close, run_timeout), min(start, run_timeout), min(run, run_timeout)
    return ActivityTaskScheduled(
        activity_id=command.activity_id,
        activity_type=command.activity_type,
        task_queue=command.task_queue or default_queue,
        input=command.input,
        schedule_to_close_timeout=close,
        schedule_to_start_timeout=start,
        start_to_close_timeout=run,
        heartbeat_timeout=min(command.heartbeat_timeout, run) if run else command.heartbeat_timeout,
        retry_policy=_filled_policy(command.retry_policy),
        header=command.header,
        priority=command.priority,
        workflow_task_completed_event_id=completed,
    )


def _filled_policy(policy: RetryPolicy | None) -> RetryPolicy:
    return policy if policy is not None else DEFAULT_ACTIVITY_RETRY


def _offer(draft: Draft, pending: PendingActivity) -> None:
    draft.ready.append(ActivityTaskReady(draft.state.ref, pending.scheduled_event_id, pending.attempt))
    if pending.scheduled.schedule_to_start_timeout:
        due = pending.attempt_scheduled_time + pending.scheduled.schedule_to_start_timeout
        draft.deadlines.append(
            Deadline(due, DeadlineKind.ACTIVITY_SCHEDULE_TO_START, pending.scheduled_event_id, pending.attempt)
        )


# --- attempts -------------------------------------------------------------------------------------------------------


def start(draft: Draft, request: StartActivityTask) -> None:
    """A worker takes an attempt: recorded before it runs.

    Raises:
        ExecutionNotFound: this attempt is no longer wanted.
    """
    pending = draft.state.activities.get(request.scheduled_event_id)
    if pending is None or pending.state is not SCHEDULED or pending.attempt != request.attempt:
        raise ExecutionNotFound(draft.state.ref.workflow_id, draft.state.ref.run_id)
    draft.record(ActivityAttemptStarted(draft.now, request.scheduled_event_id, request.attempt, request.identity))
    draft.deadlines.extend(attempt_deadlines(draft.state.activities[request.scheduled_event_id]))


def attempt_deadlines(pending: PendingActivity) -> list[Deadline]:
    """What limits a running attempt."""
    deadlines: list[Deadline] = []
    key, attempt, scheduled = pending.scheduled_event_id, pending.attempt, pending.scheduled
    if scheduled.start_to_close_timeout:
        due = pending.started_time + scheduled.start_to_close_timeout
        deadlines.append(Deadline(due, DeadlineKind.ACTIVITY_START_TO_CLOSE, key, attempt))
    if scheduled.heartbeat_timeout:
        due = max(pending.started_time, pending.heartbeat_time) + scheduled.heartbeat_timeout
        deadlines.append(Deadline(due, DeadlineKind.ACTIVITY_HEARTBEAT, key, attempt))
    return deadlines


def answer(draft: Draft, request: Any) -> None:
    """A worker, or somebody with the token or the name, reports on an attempt.

    Raises:
        ExecutionNotFound: the attempt is no longer wanted.
        InvalidRequest: cancelled, though nobody asked for it.
    """
    pending = _target(draft, request.target)
    handler = ANSWERS.get((pending.state, cast("type[Any]", type(request)))) if pending is not None else None
    if pending is None or handler is None:
        raise ExecutionNotFound(draft.state.ref.workflow_id, draft.state.ref.run_id, closed=not draft.state.open)
    output: tuple[Output, ...] = request.output
    for piece in output:
        draft.record(ActivityOutputCaptured(piece.time, pending.scheduled_event_id, pending.attempt, piece.stream, piece.text))
    handler(draft, pending, request)


def _target(draft: Draft, target: Any) -> PendingActivity | None:
    """Find what is meant. By name, an activity may be ended even before a worker has it, as in Temporal."""
    if isinstance(target, ActivityAddress):
        scheduled_event_id = draft.state.activity_ids.get(target.activity_id, 0)
        return draft.state.activities.get(scheduled_event_id)
    pending = draft.state.activities.get(target.scheduled_event_id)
    if pending is None or pending.attempt != target.attempt or pending.state in (SCHEDULED, BACKING_OFF):
        return None
    return pending


def _complete(draft: Draft, pending: PendingActivity, request: RespondActivityTaskCompleted) -> None:
    key, identity = pending.scheduled_event_id, request.identity or pending.identity
    draft.happen(_started_event(pending), ActivityTaskCompleted(key, 0, request.result, identity))


def _cancel(draft: Draft, pending: PendingActivity, request: RespondActivityTaskCanceled) -> None:
    if not pending.cancel_requested:
        raise InvalidRequest(f"activity {pending.scheduled.activity_id!r}: its cancellation was not requested")
    key, requested = pending.scheduled_event_id, pending.cancel_requested_event_id
    identity = request.identity or pending.identity
    draft.happen(_started_event(pending), ActivityTaskCanceled(key, 0, requested, request.details, identity))


def _fail(draft: Draft, pending: PendingActivity, request: RespondActivityTaskFailed) -> None:
    if request.last_heartbeat_details:
        draft.record(
            ActivityHeartbeatRecorded(draft.now, pending.scheduled_event_id, pending.attempt, request.last_heartbeat_details)
        )
        pending = draft.state.activities[pending.scheduled_event_id]
    _fail_attempt(draft, pending, request.failure)


def _heartbeat(draft: Draft, pending: PendingActivity, request: RecordActivityTaskHeartbeat) -> None:
    key = pending.scheduled_event_id
    draft.record(ActivityHeartbeatRecorded(draft.now, key, pending.attempt, request.details))
    if pending.scheduled.heartbeat_timeout:
        due = draft.now + pending.scheduled.heartbeat_timeout
        draft.deadlines.append(Deadline(due, DeadlineKind.ACTIVITY_HEARTBEAT, key, pending.attempt))


def _release(draft: Draft, pending: PendingActivity, _: ReleaseActivityTask) -> None:
    draft.record(ActivityAttemptReleased(draft.now, pending.scheduled_event_id, pending.attempt))


def _output_only(_draft: Draft, _pending: PendingActivity, _: RecordActivityTaskOutput) -> None:
    """The output itself was recorded before."""


def lose(draft: Draft, request: LoseActivityAttempt) -> None:
    """The worker is gone with the attempt: it counts as a try, and the next one follows at once instead of after a timeout."""
    pending = draft.state.activities.get(request.scheduled_event_id)
    if pending is None or pending.state is not STARTED or pending.attempt != request.attempt:
        return
    kind = TimeoutType.HEARTBEAT if pending.scheduled.heartbeat_timeout else TimeoutType.START_TO_CLOSE
    failure = Failure("the worker stopped while this attempt was running", TimeoutFailure(kind, pending.heartbeat_details))
    _fail_attempt(draft, pending, failure, at_once=True)


def _fail_attempt(draft: Draft, pending: PendingActivity, failure: Failure, *, at_once: bool = False) -> None:
    policy = pending.scheduled.retry_policy or DEFAULT_ACTIVITY_RETRY
    state, due = next_attempt(policy, pending.attempt, failure, draft.now, pending.expiration_time)
    if pending.cancel_requested:
        state = RetryState.CANCEL_REQUESTED
    key = pending.scheduled_event_id
    if state is not RetryState.IN_PROGRESS:
        _end(draft, pending, failure, state)
        return
    due = draft.now if at_once else due
    draft.record(ActivityAttemptFailed(draft.now, key, pending.attempt, failure, due, pending.identity))
    if due > draft.now:
        draft.deadlines.append(Deadline(due, DeadlineKind.ACTIVITY_BACKOFF, key, pending.attempt + 1))
    else:
        _offer(draft, draft.state.activities[key])


def _end(draft: Draft, pending: PendingActivity, failure: Failure, state: RetryState) -> None:
    key, info = pending.scheduled_event_id, failure.info
    before = (_started_event(pending),) if pending.state in (STARTED, RELEASED) else ()
    if not isinstance(info, TimeoutFailure):
        draft.happen(*before, ActivityTaskFailed(key, 0, failure, state, pending.identity))
        return
    if state is RetryState.TIMEOUT and info.timeout_type in (TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT):
        # No time is left for another attempt: what ran out is the limit for all of them.
        failure = _timeout(pending, TimeoutType.SCHEDULE_TO_CLOSE)
    draft.happen(*before, ActivityTaskTimedOut(key, 0, failure, state))


def _started_event(pending: PendingActivity) -> ActivityTaskStarted:
    return ActivityTaskStarted(pending.scheduled_event_id, pending.identity, pending.attempt, pending.last_failure)


def _timeout(pending: PendingActivity, kind: TimeoutType) -> Failure:
    words = {
        TimeoutType.START_TO_CLOSE: "StartToClose",
        TimeoutType.SCHEDULE_TO_START: "ScheduleToStart",
        TimeoutType.SCHEDULE_TO_CLOSE: "ScheduleToClose",
        TimeoutType.HEARTBEAT: "Heartbeat",
    }
    info = TimeoutFailure(kind, pending.heartbeat_details)
    return Failure(f"activity {words[kind]} timeout", info, cause=pending.last_failure)


# --- deadlines ------------------------------------------------------------------------------------------------------


def due(draft: Draft, deadline: Deadline) -> None:
    """A deadline of an activity passed; a stale one changes nothing."""
    pending = draft.state.activities.get(deadline.key)
    if pending is None or (deadline.attempt and deadline.attempt != pending.attempt):
        return
    handler = DEADLINES.get((pending.state, deadline.kind))
    if handler is not None:
        handler(draft, pending, deadline)


def _schedule_to_start(draft: Draft, pending: PendingActivity, _: Deadline) -> None:
    _end(draft, pending, _timeout(pending, TimeoutType.SCHEDULE_TO_START), RetryState.TIMEOUT)


def _schedule_to_close(draft: Draft, pending: PendingActivity, _: Deadline) -> None:
    _end(draft, pending, _timeout(pending, TimeoutType.SCHEDULE_TO_CLOSE), RetryState.TIMEOUT)


def _start_to_close(draft: Draft, pending: PendingActivity, _: Deadline) -> None:
    _fail_attempt(draft, pending, _timeout(pending, TimeoutType.START_TO_CLOSE))


def _heartbeat_missed(draft: Draft, pending: PendingActivity, deadline: Deadline) -> None:
    last: Instant = max(pending.started_time, pending.heartbeat_time)
    if last + pending.scheduled.heartbeat_timeout <= deadline.due:
        _fail_attempt(draft, pending, _timeout(pending, TimeoutType.HEARTBEAT))


def _backed_off(draft: Draft, pending: PendingActivity, _: Deadline) -> None:
    ready = replace(pending, state=SCHEDULED)
    draft.state.own_activities()
    draft.state.activities[pending.scheduled_event_id] = ready
    _offer(draft, ready)


ANSWERS: dict[tuple[ActivityState, type[Any]], Callable[[Draft, PendingActivity, Any], None]] = {
    (SCHEDULED, RespondActivityTaskCompleted): _complete,
    (STARTED, RespondActivityTaskCompleted): _complete,
    (BACKING_OFF, RespondActivityTaskCompleted): _complete,
    (RELEASED, RespondActivityTaskCompleted): _complete,
    (STARTED, RespondActivityTaskFailed): _fail,
    (RELEASED, RespondActivityTaskFailed): _fail,
    (STARTED, RespondActivityTaskCanceled): _cancel,
    (RELEASED, RespondActivityTaskCanceled): _cancel,
    (STARTED, RecordActivityTaskHeartbeat): _heartbeat,
    (RELEASED, RecordActivityTaskHeartbeat): _heartbeat,
    (STARTED, RecordActivityTaskOutput): _output_only,
    (RELEASED, RecordActivityTaskOutput): _output_only,
    (STARTED, ReleaseActivityTask): _release,
}

DEADLINES: dict[tuple[ActivityState, DeadlineKind], Callable[[Draft, PendingActivity, Deadline], None]] = {
    (SCHEDULED, DeadlineKind.ACTIVITY_SCHEDULE_TO_START): _schedule_to_start,
    (SCHEDULED, DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE): _schedule_to_close,
    (STARTED, DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE): _schedule_to_close,
    (BACKING_OFF, DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE): _schedule_to_close,
    (RELEASED, DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE): _schedule_to_close,
    (STARTED, DeadlineKind.ACTIVITY_START_TO_CLOSE): _start_to_close,
    (RELEASED, DeadlineKind.ACTIVITY_START_TO_CLOSE): _start_to_close,
    (STARTED, DeadlineKind.ACTIVITY_HEARTBEAT): _heartbeat_missed,
    (RELEASED, DeadlineKind.ACTIVITY_HEARTBEAT): _heartbeat_missed,
    (BACKING_OFF, DeadlineKind.ACTIVITY_BACKOFF): _backed_off,
}


def deadlines_of(pending: PendingActivity) -> list[Deadline]:
    """Everything that limits this activity now; what recovery puts back."""
    key, attempt = pending.scheduled_event_id, pending.attempt
    deadlines: list[Deadline] = []
    if pending.expiration_time:
        deadlines.append(Deadline(pending.expiration_time, DeadlineKind.ACTIVITY_SCHEDULE_TO_CLOSE, key))
    if pending.state is SCHEDULED and pending.scheduled.schedule_to_start_timeout:
        due = pending.attempt_scheduled_time + pending.scheduled.schedule_to_start_timeout
        deadlines.append(Deadline(due, DeadlineKind.ACTIVITY_SCHEDULE_TO_START, key, attempt))
    if pending.state is BACKING_OFF:
        deadlines.append(Deadline(pending.attempt_scheduled_time, DeadlineKind.ACTIVITY_BACKOFF, key, attempt))
    if pending.state in (STARTED, RELEASED):
        deadlines.extend(attempt_deadlines(pending))
    return deadlines
