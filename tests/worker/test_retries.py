"""How activities are tried again, as a user sees it."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta

import pytest
from laboratory import ONCE, Call, Lab, causes, events_of, named, records_of

from flowkernel import activity
from flowkernel.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType  # noqa: A004 - the SDK's name
from flowkernel.model.ids import HOUR
from flowkernel.model.records import ActivityAttemptFailed, ActivityAttemptStarted

pytestmark = pytest.mark.anyio

never = threading.Event()
"""Set at the end of a test, for activities that wait for nothing."""


@pytest.fixture(autouse=True)
def _let_go():
    never.clear()
    yield
    never.set()


@activity.defn
def succeeds_at(wanted: int) -> int:
    attempt = activity.info().attempt
    if attempt < wanted:
        raise ValueError(f"attempt {attempt}")
    return attempt


@activity.defn
async def succeeds_at_async(wanted: int) -> int:
    attempt = activity.info().attempt
    if attempt < wanted:
        raise ValueError(f"attempt {attempt}")
    return attempt


@pytest.mark.parametrize("flaky", [succeeds_at, succeeds_at_async])
async def test_retries_until_it_succeeds(lab: Lab, flaky) -> None:
    async with lab.worker(Call, flaky):
        handle = await lab.start_call(flaky, 3)
        assert await handle.result() == 3
    failed = [record for record in await records_of(handle) if isinstance(record, ActivityAttemptFailed)]
    assert [(record.attempt, record.failure.message) for record in failed] == [(1, "attempt 1"), (2, "attempt 2")]
    (started,) = [e for e in (await handle.fetch_history()).events if e.stored_name == "ActivityTaskStarted"]
    assert started.attributes.attempt == 3
    assert started.attributes.last_failure.message == "attempt 2"
    assert (await events_of(handle)).count("ActivityTaskStarted") == 1


async def test_hours_of_backoff_pass_at_once(lab: Lab) -> None:
    async with lab.worker(Call, succeeds_at):
        policy = {"initial_interval": 3600, "backoff_coefficient": 2.0}
        handle = await lab.start_call(succeeds_at, 4, retry_policy=policy)
        assert await handle.result() == 4
    starts = [record.time for record in await records_of(handle) if isinstance(record, ActivityAttemptStarted)]
    pauses = [round((later - earlier) / HOUR, 2) for earlier, later in itertools.pairwise(starts)]
    assert pauses == [1, 2, 4]


async def test_gives_up_after_the_last_attempt(lab: Lab) -> None:
    async with lab.worker(Call, succeeds_at):
        error, cause = await causes(lab.call(succeeds_at, 9, retry_policy={"maximum_attempts": 3}))
    assert isinstance(error, ActivityError)
    assert (error.activity_type, error.retry_state) == ("succeeds_at", RetryState.MAXIMUM_ATTEMPTS_REACHED)
    assert isinstance(cause, ApplicationError)
    assert (str(cause), cause.type, cause.message) == ("ValueError: attempt 3", "ValueError", "attempt 3")


async def test_a_named_type_is_not_retried(lab: Lab) -> None:
    async with lab.worker(Call, succeeds_at):
        error, cause = await causes(lab.call(succeeds_at, 9, retry_policy={"non_retryable_error_types": ["ValueError"]}))
    assert error.retry_state is RetryState.NON_RETRYABLE_FAILURE
    assert cause.message == "attempt 1"


@activity.defn
def refuses(kind: str) -> str:
    if activity.info().attempt > 1:
        return f"attempt {activity.info().attempt}"
    if kind == "never again":
        raise ApplicationError("no", 1, {"two": 2}, type="Refused", non_retryable=True)
    raise ApplicationError("later", next_retry_delay=timedelta(hours=7))


async def test_an_error_can_forbid_another_attempt(lab: Lab) -> None:
    async with lab.worker(Call, refuses):
        error, cause = await causes(lab.call(refuses, "never again"))
    assert error.retry_state is RetryState.NON_RETRYABLE_FAILURE
    assert (cause.type, cause.message, list(cause.details), cause.non_retryable) == ("Refused", "no", [1, {"two": 2}], True)


async def test_an_error_can_say_when_to_try_again(lab: Lab) -> None:
    async with lab.worker(Call, refuses):
        handle = await lab.start_call(refuses, "later", retry_policy={"maximum_interval": 60})
        assert await handle.result() == "attempt 2"
    (failed,) = [record for record in await records_of(handle) if isinstance(record, ActivityAttemptFailed)]
    assert round((failed.next_attempt_time - failed.time) / HOUR, 3) == 7


@activity.defn(no_thread_cancel_exception=True)
def hangs_once() -> int:
    if activity.info().attempt == 1:
        never.wait(60)
    return activity.info().attempt


async def test_an_attempt_that_takes_too_long_is_given_up_and_tried_again(lab: Lab) -> None:
    async with lab.worker(Call, hangs_once):
        handle = await lab.start_call(hangs_once, start_to_close_timeout="2m")
        await lab.seen(handle, named("ActivityAttemptStarted"))
        await lab.env.sleep("2m", during_activities=True)
        assert await handle.result() == 2
        (failed,) = [record for record in await records_of(handle) if isinstance(record, ActivityAttemptFailed)]
        assert failed.failure.message == "activity StartToClose timeout"
        never.set()


async def test_a_timeout_of_the_last_attempt_reaches_the_workflow(lab: Lab) -> None:
    async with lab.worker(Call, hangs_once):
        handle = await lab.start_call(hangs_once, start_to_close_timeout="2m", **ONCE)
        await lab.seen(handle, named("ActivityAttemptStarted"))
        await lab.env.sleep("3m", during_activities=True)
        error, cause = await causes(handle.result())
        assert isinstance(error, ActivityError)
        assert isinstance(cause, TimeoutError)
        assert cause.type is TimeoutType.START_TO_CLOSE
        never.set()


async def test_all_attempts_together_have_a_limit(lab: Lab) -> None:
    async with lab.worker(Call, succeeds_at):
        policy = {"initial_interval": 60, "backoff_coefficient": 1.0}
        error, cause = await causes(lab.call(succeeds_at, 99, schedule_to_close_timeout="5m", retry_policy=policy))
    assert error.retry_state is RetryState.TIMEOUT
    assert isinstance(cause, ApplicationError)
    assert cause.message == "attempt 5"


async def test_without_a_worker_the_schedule_to_start_timeout_passes(lab: Lab) -> None:
    async with lab.worker(Call):
        error, cause = await causes(lab.call("nobody", task_queue="empty", schedule_to_start_timeout="1h"))
    assert isinstance(cause, TimeoutError)
    assert cause.type is TimeoutType.SCHEDULE_TO_START
    assert error.retry_state is RetryState.TIMEOUT


@activity.defn
async def info_of_attempt() -> dict:
    info = activity.info()
    return {
        "queue": info.task_queue,
        "type": info.activity_type,
        "workflow": [info.workflow_id, info.workflow_type, info.workflow_namespace],
        "timeouts": [str(info.start_to_close_timeout), str(info.heartbeat_timeout)],
        "in_activity": activity.in_activity(),
        "retry": info.retry_policy is not None,
    }


async def test_an_activity_knows_about_itself(lab: Lab) -> None:
    async with lab.worker(Call, info_of_attempt):
        found = await lab.call(info_of_attempt, heartbeat_timeout="30s", start_to_close_timeout="1m")
    assert found == {
        "queue": "lab",
        "type": "info_of_attempt",
        "workflow": ["flow-1", "Call", "default"],
        "timeouts": ["0:01:00", "0:00:30"],
        "in_activity": True,
        "retry": True,
    }
    assert not activity.in_activity()
