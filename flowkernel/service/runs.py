"""The runs that the service holds in memory: all open ones, and the latest that closed."""

from __future__ import annotations

from collections import OrderedDict

from flowkernel.api import Reply
from flowkernel.model.events import Event
from flowkernel.model.execution import Execution
from flowkernel.model.ids import RunId
from flowkernel.model.requests import (
    GetWorkflowExecutionHistory,
    GetWorkflowExecutionHistoryResponse,
)

KEPT_CLOSED = 2_000
"""How many closed runs stay in memory, so that results and retried starts need no disk."""


class Entry:
    """One run in memory.

    ``unseen`` are the events that come after the last workflow task that a worker answered. ``sticky`` is the worker that keeps
    the run's code in its cache and needs only those. ``lease`` is the one under which the workflow task was handed out last.
    ``mended`` says that the code was replaced after that.
    """

    __slots__ = ("execution", "holder", "lease", "mended", "sticky", "unseen", "waiters")

    def __init__(self, execution: Execution, unseen: list[Event] | None = None) -> None:
        self.execution = execution
        self.unseen = unseen if unseen is not None else []
        self.sticky: str | None = None
        self.holder: str | None = None
        self.lease = 0
        self.mended = False
        self.waiters: list[tuple[GetWorkflowExecutionHistory, Reply[GetWorkflowExecutionHistoryResponse]]] = []

    def forget_seen(self) -> None:
        """Drop the events up to the last answered workflow task."""
        seen = self.execution.previous_started_event_id
        if self.unseen and self.unseen[0].event_id <= seen:
            self.unseen = [event for event in self.unseen if event.event_id > seen]


class Runs:
    """Entries by run id, and the open run of each workflow id."""

    def __init__(self) -> None:
        self.open: dict[RunId, Entry] = {}
        self.current: dict[tuple[str, str], Entry] = {}
        self._closed: OrderedDict[RunId, Entry] = OrderedDict()
        self._last_closed: dict[tuple[str, str], RunId] = {}

    def add(self, entry: Entry) -> None:
        """Take in an open run."""
        ref = entry.execution.ref
        self.open[ref.run_id] = entry
        self.current[ref.namespace, ref.workflow_id] = entry

    def close(self, entry: Entry) -> None:
        """Move a run that has closed."""
        ref = entry.execution.ref
        key = (ref.namespace, ref.workflow_id)
        self.open.pop(ref.run_id, None)
        if self.current.get(key) is entry:
            del self.current[key]
        self._closed[ref.run_id] = entry
        self._last_closed[key] = ref.run_id
        if len(self._closed) > KEPT_CLOSED:
            run_id, old = self._closed.popitem(last=False)
            old_key = (old.execution.ref.namespace, old.execution.ref.workflow_id)
            if self._last_closed.get(old_key) == run_id:
                del self._last_closed[old_key]

    def forget(self, run_id: RunId) -> Entry | None:
        """Drop a run from memory."""
        entry = self.open.pop(run_id, None) or self._closed.pop(run_id, None)
        if entry is not None:
            ref = entry.execution.ref
            key = (ref.namespace, ref.workflow_id)
            if self.current.get(key) is entry:
                del self.current[key]
            if self._last_closed.get(key) == run_id:
                del self._last_closed[key]
        return entry

    def all(self) -> list[Entry]:
        """Every run in memory."""
        return [*self.open.values(), *self._closed.values()]

    def get(self, run_id: RunId) -> Entry | None:
        """A run by its id, if it is in memory."""
        return self.open.get(run_id) or self._closed.get(run_id)

    def find(self, namespace: str, workflow_id: str, run_id: str = "") -> Entry | None:
        """The run that is meant, if it is in memory: the open one, else the latest closed, when no run id is given."""
        if run_id:
            entry = self.open.get(RunId(run_id)) or self._closed.get(RunId(run_id))
            if entry is not None:
                ref = entry.execution.ref
                if (ref.namespace, ref.workflow_id) != (namespace, workflow_id):
                    return None
            return entry
        key = (namespace, workflow_id)
        entry = self.current.get(key)
        if entry is None and key in self._last_closed:
            entry = self._closed.get(self._last_closed[key])
        return entry
