"""Recovery: taking in the open runs of a store, after a restart or a crash."""

from __future__ import annotations

from flowkernel import engine
from flowkernel.engine import inputs
from flowkernel.model.events import Event
from flowkernel.model.execution import ActivityState
from flowkernel.model.ids import Instant
from flowkernel.service.core import Core


def recover(core: Core, now: Instant) -> int:
    """Rebuild every open run from its rows, with its tasks and deadlines. What follows is in the core's next batch.

    Events that were buffered get their place. Attempts that ran when the last process ended are tried again at once.

    Returns:
        How many runs there are.
    """
    core.now = now
    recovered = 0
    for run in core.store.open_runs():
        execution = engine.fold_run(run.run, run.entries)
        events = [entry for entry in run.entries if isinstance(entry, Event)]
        core.now = max(core.now, events[-1].event_time)
        entry = core.adopt(execution, events)
        if execution.buffered:
            core.apply(entry, inputs.ReturnWorkflowTask())
        for pending in list(entry.execution.activities.values()):
            if pending.state is ActivityState.STARTED:
                core.apply(entry, inputs.LoseActivityAttempt(pending.scheduled_event_id, pending.attempt))
        recovered += 1
    return recovered
