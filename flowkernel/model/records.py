"""Records: facts that Temporal's server keeps as mutable state and never writes into the history.

Attempts, heartbeats, buffered events and captured output are stored beside the events, append-only like them. Recovery and
the timeline read both.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from flowkernel.model.events import Event
from flowkernel.model.failures import Failure
from flowkernel.model.ids import EventId, Instant
from flowkernel.model.payloads import Payloads
from flowkernel.model.policies import WorkflowTaskFailedCause


class ActivityAttemptStarted(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A worker was given this attempt. Durable before the attempt runs."""

    time: Instant
    scheduled_event_id: EventId
    attempt: int
    identity: str = ""


class ActivityAttemptFailed(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """This attempt ended in a failure (a timeout, a lost worker included) and another one follows at ``next_attempt_time``."""

    time: Instant
    scheduled_event_id: EventId
    attempt: int
    failure: Failure
    next_attempt_time: Instant
    identity: str = ""


class ActivityAttemptReleased(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The worker let go of this attempt; somebody else will complete it (``raise_complete_async``)."""

    time: Instant
    scheduled_event_id: EventId
    attempt: int


class ActivityHeartbeatRecorded(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The attempt reported that it is alive; the latest details count."""

    time: Instant
    scheduled_event_id: EventId
    attempt: int
    details: Payloads = ()


class ActivityOutputCaptured(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Text that an attempt printed or logged. ``stream`` is ``stdout``, ``stderr`` or ``log``."""

    time: Instant
    scheduled_event_id: EventId
    attempt: int
    stream: str
    text: str


class EventBuffered(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An event that arrived while a worker held the workflow task.

    It gets its place in the history when that task ends; the event id here is 0.
    """

    time: Instant
    event: Event


class WorkflowTaskAttemptFailed(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A workflow task failed again; only the first failure in a row is an event."""

    time: Instant
    attempt: int
    cause: WorkflowTaskFailedCause
    failure: Failure | None = None
    next_attempt_time: Instant = 0


Record: TypeAlias = (
    ActivityAttemptStarted
    | ActivityAttemptFailed
    | ActivityAttemptReleased
    | ActivityHeartbeatRecorded
    | ActivityOutputCaptured
    | EventBuffered
    | WorkflowTaskAttemptFailed
)
