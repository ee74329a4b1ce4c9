"""Recovery: taking in the open runs of a store, after a restart or a crash."""

from __future__ import annotations

from flowkernel import engine
from flowkernel.engine import inputs
from flowkernel.model.events import Event
from flowkernel.model.execution import ActivityState
from flowkernel.model.ids import Instant
from flowkernel.model.tasks import Deadline, DeadlineKind
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
        core.now = max(core.now, *(entry.event_time if isinstance(entry, Event) else entry.time for entry in run.entries))
        entry = core.adopt(execution, events)
        recovered += 1
        expiration = execution.run_expiration_time
        if expiration and expiration <= core.now:  # before anything else happens to it, as if nobody had been away
            core.apply(entry, inputs.DeadlinePassed(Deadline(expiration, DeadlineKind.WORKFLOW_RUN)))
            continue
        if execution.buffered:
            core.apply(entry, inputs.ReturnWorkflowTask())
        for pending in list(entry.execution.activities.values()):
            if pending.state is ActivityState.STARTED:
                core.apply(entry, inputs.LoseActivityAttempt(pending.scheduled_event_id, pending.attempt))
    return recovered
