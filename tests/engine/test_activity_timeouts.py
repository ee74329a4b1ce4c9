"""Timeouts and heartbeats of activities. Numbers are those of the specification's list of subtleties."""

from __future__ import annotations

import pytest
from activity_rig import FLAKY, IN_STATE, ONCE, backing_off, running, timed_out
from engine_rig import Rig, activity, started, value

from flowkernel.engine import inputs
from flowkernel.model import requests as req
from flowkernel.model.execution import ActivityState
from flowkernel.model.failures import Failure, RetryState, TimeoutFailure, TimeoutType
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import RetryPolicy
from flowkernel.model.records import ActivityHeartbeatRecorded

# --- timeouts ---------------------------------------------------------------------------------------------------------


def test_start_to_close_is_for_each_attempt_and_retried():
    rig = running()
    assert rig.advance(10 * SECOND - 1) == []
    assert rig.advance(1) == ["ActivityAttemptFailed"]
    rig.advance(SECOND)
    rig.begin()
    assert rig.advance(9 * SECOND) == []
    assert rig.advance(SECOND) == ["ActivityAttemptFailed"]
    assert rig.pending().attempt == 3


@pytest.mark.parametrize("name", ["start_to_close_timeout", "heartbeat_timeout"])
def test_the_last_attempt_ends_with_its_timeout(name):
    fields = {"start_to_close_timeout": 100 * SECOND, name: 5 * SECOND}
    rig = running(retry_policy=ONCE, **fields)
    assert rig.advance(5 * SECOND) == ["ActivityTaskStarted", "ActivityTaskTimedOut", "WorkflowTaskScheduled"]
    kind = TimeoutType.START_TO_CLOSE if name == "start_to_close_timeout" else TimeoutType.HEARTBEAT
    words = "StartToClose" if kind is TimeoutType.START_TO_CLOSE else "Heartbeat"
    assert timed_out(rig)[:2] == (kind, RetryState.MAXIMUM_ATTEMPTS_REACHED)
    assert timed_out(rig)[2].message == f"activity {words} timeout"  # 40


def test_schedule_to_start_is_not_retried():
    rig = started(activity(schedule_to_start_timeout=3 * SECOND, start_to_close_timeout=10 * SECOND))
    assert rig.advance(3 * SECOND) == ["ActivityTaskTimedOut", "WorkflowTaskScheduled"]
    assert timed_out(rig)[:2] == (TimeoutType.SCHEDULE_TO_START, RetryState.TIMEOUT)
    assert rig.attributes("ActivityTaskTimedOut").started_event_id == 0


def test_schedule_to_start_says_nothing_about_an_attempt_that_has_begun():
    rig = running(schedule_to_start_timeout=3 * SECOND, start_to_close_timeout=10 * SECOND)
    assert rig.advance(5 * SECOND) == []


def test_schedule_to_start_begins_anew_with_each_attempt():
    rig = backing_off(schedule_to_start_timeout=3 * SECOND, start_to_close_timeout=10 * SECOND)
    assert rig.advance(SECOND + 3 * SECOND - 1) == []
    assert rig.advance(1) == ["ActivityTaskTimedOut", "WorkflowTaskScheduled"]
    assert timed_out(rig)[2].cause == FLAKY


@pytest.mark.parametrize("state", list(ActivityState))
def test_schedule_to_close_ends_it_in_every_state(state):
    rig = IN_STATE[state](schedule_to_close_timeout=5 * SECOND, retry_policy=RetryPolicy(initial_interval=4 * SECOND))
    begun = state in (ActivityState.STARTED, ActivityState.RELEASED)
    deadlines = [d for d in rig.deadlines if d.kind.name == "ACTIVITY_SCHEDULE_TO_CLOSE"]
    transition = rig.ask(inputs.DeadlinePassed(deadlines[0]))
    expected = ["ActivityTaskTimedOut", "WorkflowTaskScheduled"]
    assert rig.happened(transition) == (["ActivityTaskStarted", *expected] if begun else expected)
    assert timed_out(rig)[:2] == (TimeoutType.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT)
    assert timed_out(rig)[2].cause == (FLAKY if state is ActivityState.BACKING_OFF else None)


def test_an_attempt_timeout_with_no_time_left_for_another_is_the_timeout_of_them_all():
    rig = running(schedule_to_close_timeout=10 * SECOND, start_to_close_timeout=9 * SECOND + SECOND // 2)
    rig.advance(9 * SECOND + SECOND // 2)
    assert timed_out(rig)[:2] == (TimeoutType.SCHEDULE_TO_CLOSE, RetryState.TIMEOUT)


# --- heartbeats -------------------------------------------------------------------------------------------------------


def beat(rig: Rig, text: str) -> None:
    transition = rig.ask(req.RecordActivityTaskHeartbeat(rig.attempt(), value(text)))
    assert rig.happened(transition) == ["ActivityHeartbeatRecorded"]


def test_39_each_heartbeat_gives_more_time():
    rig = running(start_to_close_timeout=1000 * SECOND, heartbeat_timeout=5 * SECOND)
    for _ in range(4):
        assert rig.advance(4 * SECOND) == []
        beat(rig, "alive")
    assert rig.advance(5 * SECOND - 1) == []
    assert rig.advance(1) == ["ActivityAttemptFailed"]
    assert rig.pending().last_failure == Failure(
        "activity Heartbeat timeout", TimeoutFailure(TimeoutType.HEARTBEAT, value("alive"))
    )


def test_39_details_go_to_the_next_attempt_and_stay_until_there_are_new_ones():
    rig = running(start_to_close_timeout=1000 * SECOND, heartbeat_timeout=5 * SECOND)
    beat(rig, "half")
    rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY))
    assert rig.pending().heartbeat_details == value("half")
    rig.advance(SECOND)
    rig.begin()
    assert rig.pending().heartbeat_details == value("half")
    beat(rig, "more")
    assert rig.pending().heartbeat_details == value("more")


def test_39_details_that_come_with_a_failure_count():
    rig = running()
    transition = rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY, last_heartbeat_details=value("last")))
    assert rig.happened(transition) == ["ActivityHeartbeatRecorded", "ActivityAttemptFailed"]
    assert isinstance(transition.records[0], ActivityHeartbeatRecorded)
    assert rig.pending().heartbeat_details == value("last")


def test_40_the_timeout_failure_carries_the_last_details():
    rig = running(start_to_close_timeout=1000 * SECOND, heartbeat_timeout=5 * SECOND, retry_policy=ONCE)
    beat(rig, "half")
    rig.advance(5 * SECOND)
    assert timed_out(rig)[2].info == TimeoutFailure(TimeoutType.HEARTBEAT, value("half"))


def test_a_new_attempt_has_its_full_heartbeat_time():
    rig = running(start_to_close_timeout=1000 * SECOND, heartbeat_timeout=5 * SECOND)
    rig.advance(4 * SECOND)
    beat(rig, "x")
    rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY))
    rig.advance(SECOND)
    rig.begin()
    assert rig.advance(5 * SECOND - 1) == []
