from __future__ import annotations

import asyncio
import inspect
import pickle
from datetime import timedelta

import pytest
import temporalio.exceptions as sdk

import flowkernel.exceptions as ours
from flowkernel.model.errors import FlowkernelError
from flowkernel.model.failures import Failure

FAILURES = [name for name in ours.__all__ if isinstance(getattr(ours, name), type) and name.endswith("Error")]


def activity_error() -> ours.ActivityError:
    return ours.ActivityError(
        "Activity task failed",
        scheduled_event_id=5,
        started_event_id=6,
        identity="1@here",
        activity_type="fetch",
        activity_id="1",
        retry_state=ours.RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )


@pytest.mark.parametrize("name", [name for name in FAILURES if name not in {"FlowkernelError", "TemporalError"}])
def test_parameters_and_properties_are_the_sdks(name: str) -> None:
    own, theirs = getattr(ours, name), getattr(sdk, name)

    def shape(kind: type) -> list[tuple[str, object, object]]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(kind).parameters.values()]

    assert shape(own) == shape(theirs)
    public = {member for member in dir(theirs) if not member.startswith("_")}
    assert public <= set(dir(own))
    assert [base.__name__ for base in own.__mro__ if issubclass(base, ours.TemporalError)] == [
        base.__name__ for base in theirs.__mro__ if issubclass(base, sdk.TemporalError)
    ]


def test_enums_have_the_sdks_values() -> None:
    for name in ("RetryState", "TimeoutType", "ApplicationErrorCategory"):
        for member in getattr(sdk, name):
            assert getattr(ours, name)[member.name] == member.value


def test_they_are_errors_of_flowkernel_and_not_of_asyncio() -> None:
    assert issubclass(ours.TemporalError, FlowkernelError)
    assert not issubclass(ours.CancelledError, asyncio.CancelledError)
    assert not issubclass(ours.TimeoutError, TimeoutError)


def test_str_shows_type_and_message() -> None:
    error = ours.ApplicationError("went wrong", 1, type="Broken")
    assert str(error) == "Broken: went wrong"
    assert error.message == "went wrong"
    assert error.details == (1,)
    assert str(ours.ApplicationError("went wrong")) == "went wrong"
    assert str(ours.WorkflowAlreadyStartedError("id", "Type", run_id="r")) == "Workflow execution already started"


def test_cause_is_pythons() -> None:
    error = activity_error()
    inner = ValueError("x")
    error.__cause__ = inner
    assert error.cause is inner


def test_cancellation_in_all_its_forms() -> None:
    assert ours.is_cancelled_exception(asyncio.CancelledError())
    assert ours.is_cancelled_exception(ours.CancelledError())
    assert not ours.is_cancelled_exception(ValueError())
    outer = activity_error()
    assert not ours.is_cancelled_exception(outer)
    outer.__cause__ = ours.ApplicationError("no")
    assert not ours.is_cancelled_exception(outer)
    outer.__cause__ = ours.CancelledError()
    assert ours.is_cancelled_exception(outer)


class OwnError(ours.ApplicationError):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}", code, type="Own")
        self.code = code


@pytest.mark.parametrize(
    "error",
    [
        activity_error(),
        ours.ApplicationError("m", {"a": 1}, type="T", non_retryable=True, next_retry_delay=timedelta(seconds=3)),
        ours.TimeoutError("late", type=ours.TimeoutType.HEARTBEAT, last_heartbeat_details=[1, 2]),
        OwnError(7),
        ours.FailureError("m", failure=Failure("m")),
    ],
)
def test_errors_cross_processes_whole(error: ours.FailureError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # a worker's own process
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert copy.__dict__ == error.__dict__
