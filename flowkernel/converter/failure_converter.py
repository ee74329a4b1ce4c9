"""Failure converters: exceptions to failures and back."""

from __future__ import annotations

import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, ClassVar, cast

from msgspec.structs import replace

from flowkernel.common import RawValue
from flowkernel.converter.errors import ValueNotConvertibleError
from flowkernel.converter.payload_converter import PayloadConverter
from flowkernel.durations import duration, to_timedelta
from flowkernel.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the SDK's name
)
from flowkernel.model.failures import (
    ActivityFailure,
    ApplicationFailure,
    CanceledFailure,
    ChildWorkflowFailure,
    Failure,
    FailureInfo,
    RetryState,
    ServerFailure,
    TerminatedFailure,
    TimeoutFailure,
    TimeoutType,
)
from flowkernel.model.payloads import Payloads

logger = logging.getLogger("flowkernel.converter")

MOST_CAUSES = 64
"""A chain of causes is cut here: protobuf, and so a Temporal cluster, reads messages nested to a depth of 100."""

# Counted beside the calls, since `to_failure` is the author's to override and has no room for it.
_depth: ContextVar[int] = ContextVar("flowkernel_causes", default=0)

ENCODED_MESSAGE = "Encoded failure"
"""The message of a failure whose own message is for a codec's eyes only."""


class FailureConverter(ABC):
    """Converts exceptions to failures and back. Runs in workflow code too, so it must be deterministic.

    In workflow code only a `flowkernel.exceptions.FailureError` comes here; other exceptions do not fail a workflow.
    """

    default: ClassVar[FailureConverter]
    """The converter that is used unless the author chooses another."""

    @abstractmethod
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
        """Convert an exception; it is left unchanged.

        Raises:
            ValueNotConvertibleError: there is no form for one of its details.
        """
        raise NotImplementedError

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Convert a failure to an exception with its causes."""
        raise NotImplementedError


class DefaultFailureConverter(FailureConverter):
    """Converts exceptions with their type, message, details, causes and stack traces (frames only, no values of variables).

    An exception that is no `flowkernel.exceptions.FailureError` becomes an ``ApplicationError`` whose type is the name of its
    class. One that was made from a recorded failure gives that failure again. The cause is ``__cause__``, else ``__context__``
    unless it is suppressed, as in a traceback; at most `MOST_CAUSES` of them.

    Args:
        encode_common_attributes: put message and stack trace into a payload, so that a codec can hide them.
    """

    def __init__(self, *, encode_common_attributes: bool = False) -> None:
        self._encode_common_attributes = encode_common_attributes

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
        """See base class."""
        failure = exception.failure if isinstance(exception, FailureError) else None
        if failure is None:
            cause = _cause_of(exception)
            failure = Failure(
                message=exception.message if isinstance(exception, FailureError) else _text_of(exception),
                info=_info_of(exception, payload_converter),
                cause=None if cause is None else self._further(cause, payload_converter),
                stack_trace="".join(traceback.format_tb(exception.__traceback__)),
            )
        if not self._encode_common_attributes:
            return failure
        common = {"message": failure.message, "stack_trace": failure.stack_trace}
        encoded = payload_converter.to_payload(common)
        return replace(failure, message=ENCODED_MESSAGE, stack_trace="", encoded_attributes=encoded)

    def _further(self, cause: BaseException, payload_converter: PayloadConverter) -> Failure | None:
        depth = _depth.get()
        if depth >= MOST_CAUSES:
            return None
        token = _depth.set(depth + 1)
        try:
            return self.to_failure(cause, payload_converter)
        finally:
            _depth.reset(token)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """See base class. Details that cannot be read are given as `flowkernel.common.RawValue`."""
        failure = _with_common_attributes(failure, payload_converter)
        error = _error_of(failure, payload_converter)
        error._failure = failure  # pyright: ignore[reportPrivateUsage] - subclasses need not take it in their __init__
        if failure.cause is not None:
            error.__cause__ = self.from_failure(failure.cause, payload_converter)
        return error


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """The default one, with message and stack trace in a payload that a codec can encrypt."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


# --- exception to failure ---------------------------------------------------------------------------------------------


def _text_of(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as error:  # noqa: BLE001 - an author's __str__ must not hide the author's error
        return f"<{type(exception).__name__}, whose text could not be made: {type(error).__name__}>"


def _cause_of(exception: BaseException) -> BaseException | None:
    cause = _next_cause(exception)
    seen: set[int] = set()
    link = cause
    while link is not None and id(link) not in seen:
        if link is exception:
            return None  # a chain that bites its tail ends here
        seen.add(id(link))
        link = _next_cause(link)
    return cause


def _next_cause(exception: BaseException) -> BaseException | None:
    if exception.__cause__ is not None:
        return exception.__cause__
    return None if exception.__suppress_context__ else exception.__context__


def _info_of(error: BaseException, converter: PayloadConverter) -> FailureInfo | None:
    match error:
        case ApplicationError():
            return ApplicationFailure(
                type=error.type or "",
                non_retryable=error.non_retryable,
                details=_written(error, error.details, converter),
                next_retry_delay=_delay(error.next_retry_delay),
                category=error.category,
            )
        case TimeoutError():
            return TimeoutFailure(error.type or TimeoutType.UNSPECIFIED, _written(error, error.last_heartbeat_details, converter))
        case CancelledError():
            return CanceledFailure(_written(error, error.details, converter))
        case TerminatedError():
            return TerminatedFailure()
        case ServerError():
            return ServerFailure(error.non_retryable)
        case ActivityError():
            return ActivityFailure(
                scheduled_event_id=error.scheduled_event_id,
                started_event_id=error.started_event_id,
                identity=error.identity,
                activity_type=error.activity_type,
                activity_id=error.activity_id,
                retry_state=error.retry_state or RetryState.UNSPECIFIED,
            )
        case ChildWorkflowError():
            return ChildWorkflowFailure(
                namespace=error.namespace,
                workflow_id=error.workflow_id,
                run_id=error.run_id,
                workflow_type=error.workflow_type,
                initiated_event_id=error.initiated_event_id,
                started_event_id=error.started_event_id,
                retry_state=error.retry_state or RetryState.UNSPECIFIED,
            )
        case FailureError():
            return None
        case _:
            return ApplicationFailure(type=type(error).__name__)


def _delay(delay: timedelta | None) -> int | None:
    return duration(delay) if delay else None


def _written(error: FailureError, details: Sequence[Any], converter: PayloadConverter) -> Payloads:
    if not details:
        return ()
    try:
        return tuple(converter.to_payloads(details))
    except ValueNotConvertibleError as problem:
        which = "detail" if len(details) == 1 or problem.index is None else f"detail {problem.index + 1} of {len(details)}"
        raise problem.named(f"{which} of {type(error).__name__}({error.message!r})") from problem.__cause__


# --- failure to exception ---------------------------------------------------------------------------------------------


def _error_of(failure: Failure, converter: PayloadConverter) -> FailureError:
    message = failure.message
    match failure.info:
        case ApplicationFailure() as info:
            return ApplicationError(
                message or "Application error",
                *_read(info.details, converter),
                type=info.type or None,
                non_retryable=info.non_retryable,
                next_retry_delay=None if info.next_retry_delay is None else to_timedelta(info.next_retry_delay),
                category=info.category,
            )
        case TimeoutFailure() as info:
            details = _read(info.last_heartbeat_details, converter)
            return TimeoutError(message or "Timeout", type=info.timeout_type or None, last_heartbeat_details=details)
        case CanceledFailure() as info:
            return CancelledError(message or "Cancelled", *_read(info.details, converter))
        case TerminatedFailure():
            return TerminatedError(message or "Terminated")
        case ServerFailure() as info:
            return ServerError(message or "Server error", non_retryable=info.non_retryable)
        case ActivityFailure() as info:
            return ActivityError(
                message or "Activity error",
                scheduled_event_id=info.scheduled_event_id,
                started_event_id=info.started_event_id,
                identity=info.identity,
                activity_type=info.activity_type,
                activity_id=info.activity_id,
                retry_state=info.retry_state or None,
            )
        case ChildWorkflowFailure() as info:
            return ChildWorkflowError(
                message or "Child workflow error",
                namespace=info.namespace,
                workflow_id=info.workflow_id,
                run_id=info.run_id,
                workflow_type=info.workflow_type,
                initiated_event_id=info.initiated_event_id,
                started_event_id=info.started_event_id,
                retry_state=info.retry_state or None,
            )
        case None:
            return FailureError(message or "Failure error")


def _read(payloads: Payloads, converter: PayloadConverter) -> list[Any]:
    if not payloads:
        return []
    try:
        return converter.from_payloads(payloads)
    except Exception as error:  # noqa: BLE001 - an unreadable detail must not hide the failure itself
        logger.warning("details of a failure could not be read and are given raw: %s", error)
        return [RawValue(payload) for payload in payloads]


def _with_common_attributes(failure: Failure, converter: PayloadConverter) -> Failure:
    if failure.encoded_attributes is None:
        return failure
    try:
        common: object = converter.from_payload(failure.encoded_attributes)
    except Exception as error:  # noqa: BLE001 - still encrypted, for example: what is readable remains
        logger.warning("message and stack trace of a failure could not be read: %s", error)
        return failure
    if not isinstance(common, dict):
        return failure
    texts = {
        name: text
        for name, text in cast("dict[Any, Any]", common).items()
        if name in {"message", "stack_trace"} and isinstance(text, str)
    }
    return replace(failure, **texts)
