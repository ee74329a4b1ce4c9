"""Policies that an author chooses: retries, priorities, cancellation and id handling. Values are Temporal's."""

from __future__ import annotations

import enum

import msgspec

from flowkernel.model.ids import SECOND, Duration


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """When and how often to try again.

    ``maximum_interval`` 0 stands for 100 times the initial one; ``maximum_attempts`` 0 for no limit.
    """

    initial_interval: Duration = SECOND
    backoff_coefficient: float = 2.0
    maximum_interval: Duration = 0
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()


class Priority(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Order among the tasks of a queue: ``priority_key`` 1 (first) to 5; 0 means inherited, then 3."""

    priority_key: int = 0
    fairness_key: str = ""
    fairness_weight: float = 0.0


class WorkflowIdReusePolicy(enum.IntEnum):
    """What a start does when a closed execution has the same id."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4


class WorkflowIdConflictPolicy(enum.IntEnum):
    """What a start does when a running execution has the same id."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class QueryRejectCondition(enum.IntEnum):
    """When a query is refused because of the execution's status."""

    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class WorkflowExecutionStatus(enum.IntEnum):
    """Where a run stands."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


class WorkflowTaskFailedCause(enum.IntEnum):
    """Why a workflow task failed. Values are Temporal's."""

    UNHANDLED_COMMAND = 1
    BAD_SCHEDULE_ACTIVITY_ATTRIBUTES = 2
    BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES = 3
    BAD_START_TIMER_ATTRIBUTES = 4
    BAD_CANCEL_TIMER_ATTRIBUTES = 5
    BAD_RECORD_MARKER_ATTRIBUTES = 6
    START_TIMER_DUPLICATE_ID = 12
    RESET_STICKY_TASK_QUEUE = 13
    WORKFLOW_WORKER_UNHANDLED_FAILURE = 14
    FORCE_CLOSE_COMMAND = 17
    SCHEDULE_ACTIVITY_DUPLICATE_ID = 22
    NON_DETERMINISTIC_ERROR = 24
    PENDING_ACTIVITIES_LIMIT_EXCEEDED = 27
    PAYLOADS_TOO_LARGE = 37
