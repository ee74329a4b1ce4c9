"""What the service itself tells the engine, beside the requests of clients and workers."""

from __future__ import annotations

import msgspec

from flowkernel.model.ids import EventId, RunId
from flowkernel.model.requests import StartWorkflowExecution
from flowkernel.model.tasks import Deadline


class StartRun(msgspec.Struct, frozen=True, gc=False):
    """Begin a new run. The service has checked the id policies and made the run id."""

    request: StartWorkflowExecution
    run_id: RunId


class StartWorkflowTask(msgspec.Struct, frozen=True, gc=False):
    """A worker takes the scheduled workflow task."""

    identity: str


class ReturnWorkflowTask(msgspec.Struct, frozen=True, gc=False):
    """The worker that held the workflow task is gone, or a new one has other code: offer the task again."""


class WakeWorkflowTask(msgspec.Struct, frozen=True, gc=False):
    """Offer a workflow task that is backing off at once."""


class StartActivityTask(msgspec.Struct, frozen=True, gc=False):
    """A worker takes this attempt of an activity."""

    scheduled_event_id: EventId
    attempt: int
    identity: str


class LoseActivityAttempt(msgspec.Struct, frozen=True, gc=False):
    """The worker that ran this attempt is gone."""

    scheduled_event_id: EventId
    attempt: int


class DeadlinePassed(msgspec.Struct, frozen=True, gc=False):
    """A deadline fell due. May be stale."""

    deadline: Deadline
