"""Tasks: what the service hands to workers, and the deadlines it keeps."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from flowkernel.model.events import Event
from flowkernel.model.ids import Duration, EventId, Instant, RunRef
from flowkernel.model.payloads import Header, Payloads
from flowkernel.model.policies import Priority, RetryPolicy


class TaskToken(msgspec.Struct, frozen=True, gc=False):
    """Names one attempt of one task; an answer with an outdated token is refused.

    ``lease`` numbers the times that workflow tasks were handed out: after a failed commit, or when a worker went, the same
    attempt goes out again, and perhaps with other events.
    """

    run: RunRef
    scheduled_event_id: EventId
    attempt: int = 1
    started_event_id: EventId = 0
    lease: int = 0

    def encode(self) -> bytes:
        """As opaque bytes, for ``activity.info().task_token``."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, token: bytes) -> TaskToken:
        """Inverse of `encode`.

        Raises:
            ValueError: these bytes are no token.
        """
        try:
            return msgspec.json.decode(token, type=cls)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a flowkernel task token: {token!r}") from error


class WorkflowQuery(msgspec.Struct, frozen=True, gc=False):
    """A question for the workflow's code."""

    query_id: str
    query_type: str
    args: Payloads = ()
    header: Header = {}


class WorkflowTask(msgspec.Struct, frozen=True, gc=False):
    """Here is what happened; what next?

    ``events`` starts after ``previous_started_event_id`` when the worker said it keeps the run cached, else at event 1, and
    ends with the task's ``WorkflowTaskStarted``. A task that only asks a query has ``query`` set and ``token`` None; its events
    end wherever the history does.
    """

    run: RunRef
    workflow_type: str
    task_queue: str
    events: tuple[Event, ...]
    first_event_id: EventId
    token: TaskToken | None = None
    attempt: int = 1
    query: WorkflowQuery | None = None


class ActivityTask(msgspec.Struct, frozen=True, gc=False):
    """Run this attempt of an activity."""

    token: TaskToken
    workflow_type: str
    activity_id: str
    activity_type: str
    task_queue: str
    input: Payloads
    header: Header
    attempt: int
    scheduled_time: Instant
    current_attempt_scheduled_time: Instant
    started_time: Instant
    schedule_to_close_timeout: Duration
    start_to_close_timeout: Duration
    heartbeat_timeout: Duration
    heartbeat_details: Payloads
    retry_policy: RetryPolicy | None
    priority: Priority


class WorkflowTaskReady(msgspec.Struct, frozen=True, gc=False):
    """The engine wants this run's workflow task matched to a worker."""

    run: RunRef
    scheduled_event_id: EventId
    attempt: int


class ActivityTaskReady(msgspec.Struct, frozen=True, gc=False):
    """The engine wants this activity attempt matched to a worker."""

    run: RunRef
    scheduled_event_id: EventId
    attempt: int


ReadyTask: TypeAlias = WorkflowTaskReady | ActivityTaskReady


class DeadlineKind(enum.IntEnum):
    """What falls due."""

    WORKFLOW_EXECUTION = 1
    WORKFLOW_RUN = 2
    WORKFLOW_TASK = 3
    WORKFLOW_TASK_BACKOFF = 4
    TIMER = 5
    ACTIVITY_SCHEDULE_TO_START = 6
    ACTIVITY_START_TO_CLOSE = 7
    ACTIVITY_SCHEDULE_TO_CLOSE = 8
    ACTIVITY_HEARTBEAT = 9
    ACTIVITY_BACKOFF = 10


class Deadline(msgspec.Struct, frozen=True, order=True, gc=False):
    """Something that falls due. Never cancelled: the engine ignores one that no longer applies.

    ``key`` is the event id of what it is about (0 for the run); ``attempt`` the attempt that it guards.
    """

    due: Instant
    kind: DeadlineKind
    key: EventId = 0
    attempt: int = 0
