"""A transition: everything that one decision writes, and what follows once it is durable."""

from __future__ import annotations

import msgspec

from flowkernel.model.events import Event
from flowkernel.model.execution import Execution
from flowkernel.model.ids import RunRef
from flowkernel.model.records import Record
from flowkernel.model.tasks import Deadline, ReadyTask


class Transition(msgspec.Struct, frozen=True, gc=False):
    """What a request does to a run.

    Attributes:
        run: which run.
        events: to append to its history, ids assigned, in order.
        records: to append beside it.
        after: the run's state once this is written.
        ready: tasks to match to workers.
        deadlines: to keep; stale ones are ignored when they fall due.
    """

    run: RunRef
    events: tuple[Event, ...]
    records: tuple[Record, ...]
    after: Execution
    ready: tuple[ReadyTask, ...] = ()
    deadlines: tuple[Deadline, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether there is anything to make durable."""
        return bool(self.events or self.records)
