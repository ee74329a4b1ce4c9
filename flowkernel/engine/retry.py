"""Retry rules: is this failure worth another attempt, and when?

Source of the rules: Temporal's server, common/retrypolicy and the activity part of its mutable state.
"""

from __future__ import annotations

from flowkernel.model.failures import (
    ApplicationFailure,
    CanceledFailure,
    Failure,
    RetryState,
    ServerFailure,
    TerminatedFailure,
    TimeoutFailure,
    TimeoutType,
)
from flowkernel.model.ids import Instant
from flowkernel.model.policies import RetryPolicy

DEFAULT_ACTIVITY_RETRY = RetryPolicy()
"""Activities without a policy are retried without limit: 1 s, doubling, at most 100 s apart."""

_TIMEOUT_NAMES = {
    TimeoutType.START_TO_CLOSE: "TemporalTimeout:StartToClose",
    TimeoutType.HEARTBEAT: "TemporalTimeout:Heartbeat",
}


def is_retryable(failure: Failure, non_retryable_types: tuple[str, ...]) -> bool:
    """Whether the kind of failure allows another attempt."""
    info = failure.info
    if isinstance(info, (TerminatedFailure, CanceledFailure)):
        return False
    if isinstance(info, TimeoutFailure):
        name = _TIMEOUT_NAMES.get(info.timeout_type)
        return name is not None and name not in non_retryable_types
    if isinstance(info, ServerFailure):
        return not info.non_retryable
    if isinstance(info, ApplicationFailure):
        return not info.non_retryable and info.type not in non_retryable_types
    return True


def next_attempt(
    policy: RetryPolicy, attempt: int, failure: Failure, now: Instant, expiration: Instant
) -> tuple[RetryState, Instant]:
    """Decide what follows a failed attempt.

    Args:
        attempt: the one that failed, from 1.
        expiration: no attempt may begin after it; 0 for no limit.

    Returns:
        ``IN_PROGRESS`` and when the next attempt begins, or why there is none and 0.
    """
    if not is_retryable(failure, policy.non_retryable_error_types):
        return RetryState.NON_RETRYABLE_FAILURE, 0
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED, 0
    delay = failure.info.next_retry_delay if isinstance(failure.info, ApplicationFailure) else None
    interval = _interval(policy, attempt) if delay is None else delay
    if expiration and now + interval > expiration:
        return RetryState.TIMEOUT, 0
    return RetryState.IN_PROGRESS, now + interval


def _interval(policy: RetryPolicy, attempt: int) -> int:
    limit = policy.maximum_interval or 100 * policy.initial_interval
    try:
        interval = int(policy.initial_interval * policy.backoff_coefficient ** (attempt - 1))
    except OverflowError:
        return limit
    return min(interval, limit) if interval > 0 else limit
