"""Runs with one activity, in each of its states."""

from __future__ import annotations

from typing import Any

from engine_rig import Rig, activity, application, started

from flowkernel.model import requests as req
from flowkernel.model.execution import ActivityState
from flowkernel.model.failures import Failure, RetryState, TimeoutFailure, TimeoutType
from flowkernel.model.policies import RetryPolicy

ONCE = RetryPolicy(maximum_attempts=1)
FLAKY = application("Flaky")


def running(**fields: Any) -> Rig:
    """A run with an activity, scheduled by event 5, whose first attempt runs."""
    rig = started(activity(**fields))
    rig.begin()
    return rig


def backing_off(**fields: Any) -> Rig:
    rig = running(**fields)
    rig.ask(req.RespondActivityTaskFailed(rig.attempt(), FLAKY))
    assert rig.pending().state is ActivityState.BACKING_OFF
    return rig


def released(**fields: Any) -> Rig:
    rig = running(**fields)
    rig.ask(req.ReleaseActivityTask(rig.attempt()))
    return rig


IN_STATE = {
    ActivityState.SCHEDULED: lambda **fields: started(activity(**fields)),
    ActivityState.STARTED: running,
    ActivityState.BACKING_OFF: backing_off,
    ActivityState.RELEASED: released,
}


def timed_out(rig: Rig) -> tuple[TimeoutType, RetryState, Failure]:
    """How the activity timed out: which clock, why there is no other attempt, the failure."""
    ended = rig.attributes("ActivityTaskTimedOut")
    assert isinstance(ended.failure.info, TimeoutFailure)
    return ended.failure.info.timeout_type, ended.retry_state, ended.failure
