from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
import temporalio.api.failure.v1
import temporalio.converter
import temporalio.exceptions
from hypothesis import given
from hypothesis import strategies as st

from flowkernel.common import RawValue
from flowkernel.converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
    PayloadConverter,
    ValueNotConvertibleError,
)
from flowkernel.converter.failure_converter import MOST_CAUSES
from flowkernel.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the SDK's name
    TimeoutType,
)
from flowkernel.model.failures import ActivityFailure, ApplicationFailure, CanceledFailure, Failure, TimeoutFailure
from flowkernel.model.ids import SECOND
from flowkernel.model.payloads import Payload

values = PayloadConverter.default
failures = FailureConverter.default


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def length(failure: Failure) -> int:
    return 1 if failure.cause is None else 1 + length(failure.cause)


def activity_error(retry_state: RetryState | None = RetryState.TIMEOUT) -> ActivityError:
    return ActivityError(
        "Activity task failed",
        scheduled_event_id=5,
        started_event_id=6,
        identity="1@here",
        activity_type="fetch",
        activity_id="1",
        retry_state=retry_state,
    )


def child_error() -> ChildWorkflowError:
    return ChildWorkflowError(
        "Child Workflow execution failed",
        namespace="default",
        workflow_id="child",
        run_id="run",
        workflow_type="Child",
        initiated_event_id=5,
        started_event_id=6,
        retry_state=RetryState.RETRY_POLICY_NOT_SET,
    )


ERRORS: list[FailureError] = [
    FailureError("plain"),
    ApplicationError("m"),
    ApplicationError(
        "m",
        1,
        {"a": [2]},
        type="Broken",
        non_retryable=True,
        next_retry_delay=timedelta(seconds=1.5),
        category=ApplicationErrorCategory.BENIGN,
    ),
    TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[1, "two"]),
    TimeoutError("late", type=None, last_heartbeat_details=[]),
    CancelledError("stop", "why"),
    CancelledError(),
    TerminatedError("gone"),
    ServerError("down", non_retryable=True),
    activity_error(),
    activity_error(None),
    child_error(),
]


def seen(error: BaseException) -> dict[str, Any]:
    hidden = {"_failure"}
    state = {name: value for name, value in vars(error).items() if name not in hidden}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in state.items()}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_come_back_as_they_were(error: FailureError) -> None:
    failure = failures.to_failure(error, values)
    again = failures.from_failure(failure, values)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert seen(again) == seen(error)
    assert isinstance(again, FailureError)
    assert again.failure == failure


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_official_sdk_makes_the_same_failure(error: FailureError) -> None:
    arguments = {name[1:]: value for name, value in vars(error).items() if name != "_failure"}
    message, details = arguments.pop("message"), arguments.pop("details", ())
    theirs = getattr(temporalio.exceptions, type(error).__name__)(message, *details, **arguments)
    message_of_theirs = temporalio.api.failure.v1.Failure()
    converter = temporalio.converter.DataConverter.default
    converter.failure_converter.to_failure(theirs, converter.payload_converter, message_of_theirs)
    own = failures.to_failure(error, values)
    assert own.message == message_of_theirs.message
    kind = message_of_theirs.WhichOneof("failure_info")
    if own.info is None:
        assert kind is None
        return
    tag = own.info.__struct_config__.tag
    assert kind == ("child_workflow_execution_failure_info" if tag == "child_workflow" else f"{tag}_failure_info")
    info = getattr(message_of_theirs, str(kind))
    for name in (
        "type",
        "non_retryable",
        "timeout_type",
        "category",
        "retry_state",
        "scheduled_event_id",
        "identity",
        "namespace",
    ):
        if hasattr(own.info, name):
            assert getattr(own.info, name) == getattr(info, name)
    for name in ("details", "last_heartbeat_details"):
        if hasattr(own.info, name):
            assert [p.data for p in getattr(own.info, name)] == [p.data for p in getattr(info, name).payloads]


def test_another_exception_becomes_an_application_error() -> None:
    failure = failures.to_failure(raised(KeyError("missing")), values)
    assert failure.message == "'missing'"
    assert failure.info == ApplicationFailure(type="KeyError")
    error = failures.from_failure(failure, values)
    assert isinstance(error, ApplicationError)
    assert str(error) == "KeyError: 'missing'"
    assert error.type == "KeyError"
    assert not error.non_retryable


def test_next_retry_delay_is_in_nanoseconds() -> None:
    failure = failures.to_failure(ApplicationError("m", next_retry_delay=timedelta(seconds=2)), values)
    assert isinstance(failure.info, ApplicationFailure)
    assert failure.info.next_retry_delay == 2 * SECOND
    unset = failures.to_failure(ApplicationError("m", next_retry_delay=timedelta(0)), values)  # as in the SDK
    assert isinstance(unset.info, ApplicationFailure)
    assert unset.info.next_retry_delay is None


def test_the_cause_is_the_one_that_a_traceback_shows() -> None:
    explicit = failures.to_failure(raised(ValueError("outer"), KeyError("inner")), values)
    assert explicit.cause is not None
    assert explicit.cause.info == ApplicationFailure(type="KeyError")

    def while_handling(suppress: bool) -> Failure:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                if suppress:
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904 - the implicit context is the point
        except ValueError as error:
            return failures.to_failure(error, values)

    implicit = while_handling(suppress=False)
    assert implicit.cause is not None
    assert implicit.cause.message == "'first'"
    assert while_handling(suppress=True).cause is None


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    failure = failures.to_failure(one, values)
    assert failure.message == "one"
    assert length(failure) == 1
    outer = ValueError("outer")
    outer.__cause__ = one
    assert length(failures.to_failure(outer, values)) == 2


def test_a_long_chain_is_cut() -> None:
    error = ValueError("0")
    for number in range(1, 2000):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    failure = failures.to_failure(error, values)
    assert failure.message == "1999"
    assert length(failure) == MOST_CAUSES + 1
    assert length(failures.to_failure(error, values)) == MOST_CAUSES + 1  # counted anew


def test_the_whole_chain_comes_back() -> None:
    application = raised(ApplicationError("inner", type="Inner"), OSError("disk"))
    outer = activity_error()
    outer.__cause__ = application
    error = failures.from_failure(failures.to_failure(outer, values), values)
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "Inner"
    assert isinstance(error.cause.cause, ApplicationError)
    assert str(error.cause.cause) == "OSError: disk"


def test_a_recorded_failure_is_used_again() -> None:
    recorded = Failure("m", ApplicationFailure("T"), Failure("inner"), "the original stack", source="elsewhere")
    error = failures.from_failure(recorded, values)
    again = raised(error, ValueError("a new cause"))  # raised anew, in another place
    assert failures.to_failure(again, values) == recorded


def test_stack_traces_hold_frames_and_nothing_else() -> None:
    failure = failures.to_failure(raised(ValueError("secret text")), values)
    assert failure.stack_trace.startswith('  File "')
    assert "in raised" in failure.stack_trace
    assert "secret text" not in failure.stack_trace
    assert failures.to_failure(ValueError("never raised"), values).stack_trace == ""


def test_message_and_stack_can_be_hidden_from_the_history() -> None:
    hiding = DefaultFailureConverterWithEncodedAttributes()
    error = raised(ApplicationError("secret", 1, type="T"), ValueError("also secret"))
    failure = hiding.to_failure(error, values)
    assert failure.message == "Encoded failure"
    assert failure.stack_trace == ""
    assert failure.encoded_attributes is not None
    assert b"secret" in failure.encoded_attributes.data
    assert failure.cause is not None
    assert failure.cause.message == "Encoded failure"
    again = hiding.from_failure(failure, values)
    assert isinstance(again, ApplicationError)
    assert again.message == "secret"
    assert again.failure is not None
    assert "in raised" in again.failure.stack_trace
    assert isinstance(again.cause, ApplicationError)
    assert again.cause.message == "also secret"
    # Once more into a history: still hidden.
    twice = hiding.to_failure(again, values)
    assert twice.message == "Encoded failure"
    assert hiding.from_failure(twice, values).args == again.args


def test_a_detail_that_cannot_be_converted_is_named() -> None:
    with pytest.raises(ValueNotConvertibleError) as refused:
        failures.to_failure(ApplicationError("m", 1, object()), values)
    assert str(refused.value).startswith("detail 2 of 2 of ApplicationError('m') of type object cannot be converted")


def test_details_that_cannot_be_read_do_not_hide_the_failure(caplog: pytest.LogCaptureFixture) -> None:
    payload = Payload({"encoding": b"binary/encrypted"}, b"?")
    for info in (ApplicationFailure("T", details=(payload,)), CanceledFailure((payload,))):
        error = failures.from_failure(Failure("m", info), values)
        assert isinstance(error, ApplicationError | CancelledError)
        assert error.message == "m"
        assert list(error.details) == [RawValue(payload)]
    hidden = failures.from_failure(Failure("Encoded failure", encoded_attributes=payload), values)
    assert str(hidden) == "Encoded failure"
    assert "binary/encrypted" in caplog.text


def test_an_exception_whose_text_cannot_be_made() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert failures.to_failure(Odd(), values).message == "<Odd, whose text could not be made: RuntimeError>"


def test_messages_for_failures_without_one() -> None:
    assert str(failures.from_failure(Failure(info=TimeoutFailure(TimeoutType.HEARTBEAT)), values)) == "Timeout"
    assert str(failures.from_failure(Failure(info=CanceledFailure()), values)) == "Cancelled"
    assert str(failures.from_failure(Failure(), values)) == "Failure error"
    unspecified = ActivityFailure(1, 2, "", "a", "1", RetryState.UNSPECIFIED)
    error = failures.from_failure(Failure(info=unspecified), values)
    assert isinstance(error, ActivityError)
    assert error.retry_state is None


def test_an_authors_converter_sees_causes_too() -> None:
    class Own(DefaultFailureConverter):
        def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
            failure = super().to_failure(exception, payload_converter)
            return msgspec.structs.replace(failure, source="own")

    failure = Own().to_failure(raised(ValueError("outer"), KeyError("inner")), values)
    assert failure.source == "own"
    assert failure.cause is not None
    assert failure.cause.source == "own"


@given(st.lists(st.tuples(st.text(), st.text(), st.lists(st.integers() | st.text()), st.booleans()), min_size=1, max_size=6))
def test_chains_of_application_errors_come_back(links: list[tuple[str, str, list[Any], bool]]) -> None:
    error: ApplicationError | None = None
    for message, kind, details, non_retryable in links:
        outer = ApplicationError(message, *details, type=kind, non_retryable=non_retryable)
        outer.__cause__ = error
        error = outer
    assert error is not None
    read: BaseException | None = failures.from_failure(failures.to_failure(error, values), values)
    for message, kind, details, non_retryable in reversed(links):
        assert isinstance(read, ApplicationError)
        assert read.message == (message or "Application error")
        assert read.type == (kind or None)
        assert list(read.details) == details
        assert read.non_retryable == non_retryable
        read = read.cause
    assert read is None
