"""What an exception out of an activity means for its attempt."""

from __future__ import annotations

import asyncio

from flowkernel import exceptions
from flowkernel.converter import DataConverter, PayloadTooLargeError, ValueNotConvertibleError
from flowkernel.exceptions import ApplicationError
from flowkernel.model.failures import CanceledFailure, Failure
from flowkernel.model.payloads import Payloads
from flowkernel.model.requests import (
    Output,
    ReleaseActivityTask,
    RespondActivityTaskCanceled,
    RespondActivityTaskFailed,
)
from flowkernel.model.tasks import TaskToken
from flowkernel.worker.context import ActivityCancellationDetails, CompleteAsync
from flowkernel.worker.tracebacks import from_authors_code

Report = RespondActivityTaskFailed | RespondActivityTaskCanceled | ReleaseActivityTask


def report_of(
    error: BaseException,
    token: TaskToken,
    *,
    asked_to_stop: ActivityCancellationDetails | None,
    converter: DataConverter,
    identity: str,
    heartbeat: Payloads,
    output: tuple[Output, ...],
) -> Report | None:
    """How to report the end of an attempt, its payloads not yet coded; None if nobody waits for it any more.

    Args:
        asked_to_stop: why the attempt was asked to stop; None if it was not.
        heartbeat: details that were not sent yet.
    """
    if isinstance(error, CompleteAsync):
        return ReleaseActivityTask(token, output)
    stopped = isinstance(error, asyncio.CancelledError | exceptions.CancelledError)
    if stopped and asked_to_stop is not None:
        if asked_to_stop.not_found:
            return None
        if asked_to_stop.cancel_requested:
            details = error.details if isinstance(error, exceptions.CancelledError) else ()
            try:
                found = tuple(converter.payload_converter.to_payloads(details)) if details else ()
            except ValueNotConvertibleError as unconvertible:
                found = tuple(converter.payload_converter.to_payloads([str(unconvertible)]))
            return RespondActivityTaskCanceled(token, found, identity, output)
        if asked_to_stop.worker_shutdown:
            error = ApplicationError("Worker shutting down", type="WorkerShutdown")
    return RespondActivityTaskFailed(token, _failure(from_authors_code(error), converter), identity, heartbeat, output)


def _failure(error: BaseException, converter: DataConverter) -> Failure:
    if isinstance(error, asyncio.CancelledError):
        error = ApplicationError("Cancelled", type="CancelledError")
    elif isinstance(error, PayloadTooLargeError):
        # The next attempt would most likely compute the same.
        error = ApplicationError(str(error), type="PayloadTooLargeError", non_retryable=True)
    to_failure = converter.failure_converter.to_failure
    try:
        failure = to_failure(error, converter.payload_converter)
        if isinstance(failure.info, CanceledFailure):
            # Raised by the code itself, though nobody asked for it: a failure like any other.
            failure = to_failure(ApplicationError(str(error), type="CancelledError"), converter.payload_converter)
    except Exception as unconvertible:  # noqa: BLE001 - an author's converter or details; the attempt must end all the same
        failure = to_failure(ApplicationError(str(unconvertible), type=type(unconvertible).__name__), converter.payload_converter)
    return failure
