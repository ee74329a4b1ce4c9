"""Is a failure worth another attempt, and when?"""

from __future__ import annotations

import pytest
from engine_rig import START, application

from flowkernel.engine.retry import is_retryable, next_attempt
from flowkernel.model.failures import (
    ActivityFailure,
    CanceledFailure,
    Failure,
    RetryState,
    ServerFailure,
    TerminatedFailure,
    TimeoutFailure,
    TimeoutType,
)
from flowkernel.model.ids import DAY, SECOND
from flowkernel.model.policies import RetryPolicy

FLAKY = application("Flaky")


def timeout(kind: TimeoutType) -> Failure:
    return Failure("too late", TimeoutFailure(kind))


@pytest.mark.parametrize(
    ("failure", "types", "retryable"),
    [
        (FLAKY, (), True),
        (FLAKY, ("Flaky",), False),
        (FLAKY, ("flaky", "Flak", "FlakyError"), True),  # the type must be the same to the letter
        (application("Flaky", non_retryable=True), (), False),
        (timeout(TimeoutType.START_TO_CLOSE), (), True),
        (timeout(TimeoutType.HEARTBEAT), (), True),
        (timeout(TimeoutType.SCHEDULE_TO_START), (), False),
        (timeout(TimeoutType.SCHEDULE_TO_CLOSE), (), False),
        (timeout(TimeoutType.START_TO_CLOSE), ("TemporalTimeout:StartToClose",), False),
        (timeout(TimeoutType.HEARTBEAT), ("TemporalTimeout:Heartbeat",), False),
        (timeout(TimeoutType.HEARTBEAT), ("TemporalTimeout:StartToClose",), True),
        (Failure("x", CanceledFailure()), (), False),  # 41
        (Failure("x", TerminatedFailure()), (), False),
        (Failure("x", ServerFailure()), (), True),
        (Failure("x", ServerFailure(non_retryable=True)), (), False),
        (Failure("x"), (), True),
        # 38: what a failure wraps does not count.
        (
            Failure(
                "x",
                ActivityFailure(5, 6, "", "work", "1", RetryState.NON_RETRYABLE_FAILURE),
                cause=application("Fatal", non_retryable=True),
            ),
            ("Fatal",),
            True,
        ),
    ],
)
def test_what_is_retryable(failure, types, retryable):
    assert is_retryable(failure, types) is retryable


@pytest.mark.parametrize(
    ("policy", "attempt", "seconds"),
    [
        (RetryPolicy(), 1, 1),
        (RetryPolicy(), 2, 2),
        (RetryPolicy(), 5, 16),
        (RetryPolicy(), 7, 64),
        (RetryPolicy(), 8, 100),  # 100 times the first one at most
        (RetryPolicy(), 5_000, 100),
        (RetryPolicy(initial_interval=3 * SECOND, backoff_coefficient=1.0), 9, 3),
        (RetryPolicy(initial_interval=3 * SECOND, backoff_coefficient=1.5), 3, 6.75),
        (RetryPolicy(maximum_interval=5 * SECOND), 4, 5),
        (RetryPolicy(initial_interval=DAY, backoff_coefficient=1e300), 3, 100 * 86_400),
    ],
)
def test_how_long_to_wait(policy, attempt, seconds):
    assert next_attempt(policy, attempt, FLAKY, START, 0) == (RetryState.IN_PROGRESS, START + int(seconds * SECOND))


@pytest.mark.parametrize("delay", [0, 500])
def test_a_failure_may_name_the_delay_itself_beyond_the_maximum_too(delay):
    policy = RetryPolicy(maximum_interval=5 * SECOND)
    failure = application("Flaky", next_retry_delay=delay * SECOND)
    assert next_attempt(policy, 1, failure, START, 0) == (RetryState.IN_PROGRESS, START + delay * SECOND)


@pytest.mark.parametrize(
    ("maximum", "attempt", "state"),
    [
        (0, 1_000, RetryState.IN_PROGRESS),
        (1, 1, RetryState.MAXIMUM_ATTEMPTS_REACHED),
        (3, 2, RetryState.IN_PROGRESS),
        (3, 3, RetryState.MAXIMUM_ATTEMPTS_REACHED),
        (3, 4, RetryState.MAXIMUM_ATTEMPTS_REACHED),
    ],
)
def test_how_often(maximum, attempt, state):
    assert next_attempt(RetryPolicy(maximum_attempts=maximum), attempt, FLAKY, START, 0)[0] is state


@pytest.mark.parametrize(
    ("left", "state"), [(2 * SECOND, RetryState.IN_PROGRESS), (2 * SECOND - 1, RetryState.TIMEOUT), (-1, RetryState.TIMEOUT)]
)
def test_no_attempt_begins_after_the_expiration(left, state):
    assert next_attempt(RetryPolicy(), 2, FLAKY, START, START + left)[0] is state


def test_what_cannot_be_retried_at_all_comes_first():
    failure = application("Fatal", non_retryable=True)
    assert next_attempt(RetryPolicy(maximum_attempts=1), 1, failure, START, START) == (RetryState.NON_RETRYABLE_FAILURE, 0)
