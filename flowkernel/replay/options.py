"""How an activity is to be run: timeouts, retries, cancellation."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec

from flowkernel import common
from flowkernel.durations import InvalidDurationError, duration
from flowkernel.model.ids import Duration
from flowkernel.model.policies import Priority, RetryPolicy

TimeSpan: TypeAlias = timedelta | float | str
"""A length of time as authors write it: a timedelta, seconds, or text such as ``"30s"``."""


class ActivityCancellationType(enum.IntEnum):
    """What cancelling an activity means for the workflow that awaits it. Values are Temporal's."""

    TRY_CANCEL = 0
    """Ask the activity to cancel, and raise at once."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask the activity to cancel, and wait for how it really ends, be it a success."""
    ABANDON = 2
    """Leave the activity running, and raise at once."""


class ActivityOptions(msgspec.Struct, frozen=True):
    """Options of an activity, parsed. None stands for "not given"."""

    task_queue: str | None = None
    schedule_to_close_timeout: Duration | None = None
    schedule_to_start_timeout: Duration | None = None
    start_to_close_timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    retry_policy: RetryPolicy | None = None
    cancellation_type: ActivityCancellationType | None = None
    activity_id: str | None = None
    summary: str | None = None
    priority: Priority | None = None
    result_type: Any = None

    @classmethod
    def parse(
        cls,
        *,
        task_queue: str | None = None,
        schedule_to_close_timeout: TimeSpan | None = None,
        schedule_to_start_timeout: TimeSpan | None = None,
        start_to_close_timeout: TimeSpan | None = None,
        heartbeat_timeout: TimeSpan | None = None,
        retry_policy: common.RetryPolicy | None = None,
        cancellation_type: ActivityCancellationType | None = None,
        activity_id: str | None = None,
        summary: str | None = None,
        priority: common.Priority | None = None,
        result_type: Any = None,
    ) -> ActivityOptions:
        """Read options as authors give them.

        Raises:
            ValueError: a length of time cannot be read, or a policy breaks a rule.
        """
        return cls(
            task_queue,
            _duration(schedule_to_close_timeout, "schedule_to_close_timeout"),
            _duration(schedule_to_start_timeout, "schedule_to_start_timeout"),
            _duration(start_to_close_timeout, "start_to_close_timeout"),
            _duration(heartbeat_timeout, "heartbeat_timeout"),
            retry_policy.to_model() if retry_policy is not None else None,
            cancellation_type,
            activity_id,
            summary,
            priority.to_model() if priority is not None else None,
            result_type,
        )

    def over(self, defaults: ActivityOptions) -> ActivityOptions:
        """These options, with what they leave open taken from ``defaults``."""
        if defaults is NO_OPTIONS or defaults is self:
            return self
        if self is NO_OPTIONS:
            return defaults
        own = msgspec.structs.astuple(self)
        other = msgspec.structs.astuple(defaults)
        return ActivityOptions(*[mine if mine is not None else theirs for mine, theirs in zip(own, other, strict=True)])


def _duration(value: TimeSpan | None, option: str) -> Duration | None:
    try:
        return duration(value) if value is not None else None
    except InvalidDurationError as error:
        raise error.named(option) from None


NO_OPTIONS = ActivityOptions()
"""Nothing given."""
