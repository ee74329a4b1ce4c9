"""Runs written by hand: what the conformance suite of the store, and tests of what reads a store, put into it."""

from __future__ import annotations

from flowkernel.model.events import (
    Event,
    EventAttributes,
    UserMetadata,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTaskScheduled,
)
from flowkernel.model.execution import Execution
from flowkernel.model.failures import ApplicationFailure, Failure
from flowkernel.model.ids import SECOND, Instant, RunId, RunRef, WorkflowId
from flowkernel.model.payloads import Payload
from flowkernel.model.policies import RetryPolicy, WorkflowTaskFailedCause
from flowkernel.model.records import (
    ActivityAttemptFailed,
    ActivityAttemptReleased,
    ActivityAttemptStarted,
    ActivityHeartbeatRecorded,
    ActivityOutputCaptured,
    EventBuffered,
    Record,
    WorkflowTaskAttemptFailed,
)
from flowkernel.model.transition import Transition

__all__ = ["AWKWARD", "FAILURE", "START", "RunScript", "awkward_start", "every_record", "json_payload"]

START: Instant = 1_700_000_000_123_456_789
"""When runs begin unless told otherwise."""


class RunScript:
    """Writes a run by hand, one transition after the other.

    Args:
        workflow_id: also the beginning of the default run id.
        run_id: unique among all runs of the store.
        start: instant of the first event; each event is a second later than the one before it.
        started: instead of a plain first event.
    """

    def __init__(
        self,
        workflow_id: str = "order-1",
        run_id: str | None = None,
        *,
        namespace: str = "default",
        start: Instant = START,
        started: WorkflowExecutionStarted | None = None,
    ) -> None:
        self.ref = RunRef(namespace, WorkflowId(workflow_id), RunId(run_id or f"{workflow_id}-run"))
        self.start_time = start
        self.first = started or WorkflowExecutionStarted("Order", self.ref.workflow_id, "orders")
        self.events: list[Event] = []
        self.records: list[Record] = []

    def start(self, user_metadata: UserMetadata | None = None) -> Transition:
        """The transition that opens the run: its first event and a workflow task."""
        transition = self.add(self.first, WorkflowTaskScheduled("orders"))
        if user_metadata is None:
            return transition
        self.events[0] = Event(1, self.start_time, self.first, user_metadata)
        return Transition(self.ref, tuple(self.events), (), transition.after)

    def add(self, *attributes: EventAttributes, records: tuple[Record, ...] = ()) -> Transition:
        """A transition with the next events, and records beside them."""
        first = len(self.events) + 1
        events = tuple(
            Event(number, self.start_time + (number - 1) * SECOND, each) for number, each in enumerate(attributes, first)
        )
        self.events.extend(events)
        self.records.extend(records)
        return Transition(self.ref, events, records, Execution(self.ref, self.first, self.start_time))

    def complete(self, result: bytes = b"null") -> Transition:
        """The transition that ends the run well."""
        return self.add(WorkflowExecutionCompleted((json_payload(result),)))


def json_payload(data: bytes) -> Payload:
    """A payload of JSON text."""
    return Payload({"encoding": b"json/plain"}, data)


AWKWARD = (
    json_payload(b'{"x": [1, "\\u0000"]}'),
    json_payload("žluťoučký 🐎 \"quoted\" \\ 'and' \n\t".encode()),
    json_payload(b""),
    Payload({"encoding": b"binary/plain"}, bytes(range(256))),
    Payload({"encoding": b"binary/null"}),
    Payload({"encoding": b"binary/encrypted", "key": b"\xff\x00"}, b"\x00"),
    Payload(),
)
"""Payloads that are easy to spoil on the way to a file and back."""

FAILURE = Failure(
    "no such order", ApplicationFailure("NotFound", True, (json_payload(b"7"),)), Failure("404", stack_trace="line 1\nline 2")
)


def awkward_start() -> WorkflowExecutionStarted:
    """A first event in which every kind of field is set."""
    return WorkflowExecutionStarted(
        "Order",
        WorkflowId("order-1"),
        "orders",
        AWKWARD,
        execution_timeout=3 * SECOND,
        identity="me@here",
        first_execution_run_id=RunId("r0"),
        retry_policy=RetryPolicy(non_retryable_error_types=("A", "B")),
        memo={"note": AWKWARD[1]},
        search_attributes={"Customer": AWKWARD[0]},
        header={"trace": AWKWARD[3]},
    )


def every_record() -> tuple[Record, ...]:
    """A record of every kind."""
    signal = Event(0, START + 1, WorkflowExecutionSignaled("late", AWKWARD), UserMetadata(AWKWARD[1]))
    return (
        ActivityAttemptStarted(START, 5, 1, "worker"),
        ActivityHeartbeatRecorded(START + 1, 5, 1, AWKWARD),
        ActivityOutputCaptured(START + 2, 5, 1, "stdout", 'text "with" \x00 and \x1b[31m\n'),
        ActivityAttemptFailed(START + 3, 5, 1, FAILURE, START + 9, "worker"),
        ActivityAttemptReleased(START + 4, 5, 2),
        EventBuffered(START + 5, signal),
        WorkflowTaskAttemptFailed(START + 6, 2, WorkflowTaskFailedCause.NON_DETERMINISTIC_ERROR, FAILURE, START + 8),
    )
