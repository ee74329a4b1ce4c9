"""What outlives a crash in a simulation, and what a test says about it: places of crashes, programs, the client's steps."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowkernel.converter import DataConverter
from flowkernel.model import requests as req
from flowkernel.model.ids import SECOND, Instant
from flowkernel.replay import WorkflowDefinition

NAMESPACE, QUEUE, WORKFLOW_ID = "default", "queue", "order"
START: Instant = 1_767_225_600 * SECOND
CONVERTER = DataConverter.default


class Place(enum.Enum):
    """Where in a commit something goes wrong."""

    BEFORE_STORE = "the batch is lost"
    BEFORE_REPLIES = "the batch is stored, nobody was told"
    AFTER_REPLIES = "everybody was told, then the process died"
    REFUSED = "the store refuses the batch, the process lives on"


CRASHES = (Place.BEFORE_STORE, Place.BEFORE_REPLIES, Place.AFTER_REPLIES)


class Crashed(Exception):
    """The process died."""


@dataclass(frozen=True)
class Beat:
    """A heartbeat with these details."""

    details: tuple[Any, ...] = ()


class Released(Exception):
    """The attempt will be completed by somebody else."""


@dataclass(frozen=True)
class Attempt:
    """What an activity knows of itself."""

    world: World
    activity_id: str
    attempt: int
    heartbeat_details: tuple[Any, ...]


@dataclass
class World:
    """What outlives a crash beside the store."""

    attempts: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """How often each attempt ran: by run id, scheduled event id and attempt."""
    effects: Counter[str] = field(default_factory=Counter)
    """How often each activity did its work to the end: by activity id."""
    notes: list[Any] = field(default_factory=list)


# --- what the client does ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Send:
    """Ask something of the service, again and again until it is answered."""

    request: Any


@dataclass(frozen=True)
class SendDuringTask:
    """Ask something while a worker holds a workflow task, and see it committed before the task is answered.

    ``after`` is how many workflow tasks have been completed before.
    """

    request: Any
    after: int


@dataclass(frozen=True)
class Sleep:
    """Let this many seconds pass before the next step."""

    seconds: float


@dataclass(frozen=True)
class Mend:
    """Put other code in the place of the workflow's, and wake what was suspended."""

    definition: WorkflowDefinition


Step = Send | SendDuringTask | Sleep | Mend


@dataclass(frozen=True)
class Program:
    """A workflow, its activities and what a client does with it."""

    workflow: Callable[..., Any]
    activities: dict[str, Callable[..., Any]] = field(default_factory=dict)
    client: tuple[Step, ...] = ()
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def definition(self) -> WorkflowDefinition:
        return WorkflowDefinition.of_function(self.workflow, name="program")

    @property
    def start(self) -> req.StartWorkflowExecution:
        """The request that starts it."""
        return req.StartWorkflowExecution(
            NAMESPACE, WORKFLOW_ID, "program", QUEUE, payloads(*self.args), request_id="start", **self.options
        )


def payloads(*values: Any) -> tuple[Any, ...]:
    return tuple(CONVERTER.payload_converter.to_payloads(list(values)))


def values(found: Sequence[Any]) -> list[Any]:
    return CONVERTER.payload_converter.from_payloads(list(found))


def signal(name: str, *args: Any, request_id: str) -> req.SignalWorkflowExecution:
    return req.SignalWorkflowExecution(NAMESPACE, WORKFLOW_ID, name, payloads(*args), request_id=request_id)
