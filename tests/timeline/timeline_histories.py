"""Builds histories for the timeline's tests: events with Temporal's order and ids, and the records beside them."""

from __future__ import annotations

import json
from typing import Any

from flowkernel.model.events import (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskStarted,
    Event,
    EventAttributes,
    TimerFired,
    TimerStarted,
    UserMetadata,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from flowkernel.model.failures import ActivityFailure, ApplicationFailure, Failure, RetryState
from flowkernel.model.ids import MILLISECOND, SECOND, EventId, RunId, RunRef, WorkflowId
from flowkernel.model.payloads import Payload
from flowkernel.model.policies import RetryPolicy, WorkflowTaskFailedCause
from flowkernel.model.records import (
    ActivityAttemptFailed,
    ActivityAttemptStarted,
    ActivityHeartbeatRecorded,
    ActivityOutputCaptured,
    Record,
    WorkflowTaskAttemptFailed,
)
from flowkernel.timeline import Timeline, fold

START = 1_772_366_400 * SECOND  # 2026-03-01 12:00:00 UTC
RUN = RunRef("default", WorkflowId("quickstart-weather"), RunId("019ca8f1-9000-7000-8000-000000000001"))


def value(data: Any) -> Payload:
    return Payload({"encoding": b"json/plain"}, json.dumps(data).encode())


def application(kind: str, message: str, trace: str = "", cause: Failure | None = None) -> Failure:
    return Failure(message, ApplicationFailure(kind), cause, trace)


class History:
    """A history under construction; ``at`` is the present in seconds after the start."""

    def __init__(self, workflow_type: str = "weather", *inputs: Any, run: RunRef = RUN, **fields: Any) -> None:
        self.run = run
        self.events: list[Event] = []
        self.records: list[Record] = []
        self.at = 0.0
        self._held: tuple[EventId, EventId] | None = None
        queue = fields.pop("task_queue", "notebook")
        self.event(WorkflowExecutionStarted(workflow_type, run.workflow_id, queue, tuple(map(value, inputs)), **fields))

    @property
    def now(self) -> int:
        return START + round(self.at * 1000) * MILLISECOND

    def event(self, attributes: EventAttributes, summary: str = "") -> EventId:
        metadata = UserMetadata(value(summary)) if summary else None
        self.events.append(Event(len(self.events) + 1, self.now, attributes, metadata))
        return len(self.events)

    def after(self, seconds: float) -> History:
        self.at += seconds
        return self

    def task(self, definition: str = "") -> EventId:
        """A workflow task from scheduled to completed."""
        scheduled = self.event(WorkflowTaskScheduled("notebook"))
        started = self.event(WorkflowTaskStarted(scheduled))
        return self.event(WorkflowTaskCompleted(scheduled, started, definition=definition))

    def task_fails(self, failure: Failure, attempts: int = 1, backoff: float = 10.0) -> None:
        scheduled = self.event(WorkflowTaskScheduled("notebook"))
        started = self.event(WorkflowTaskStarted(scheduled))
        cause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
        self.event(WorkflowTaskFailed(scheduled, started, cause, failure))
        for attempt in range(2, attempts + 1):
            self.after(1.0)
            due = self.now + round(backoff * SECOND)
            self.records.append(WorkflowTaskAttemptFailed(self.now, attempt, cause, failure, due))

    def schedule(self, name: str, *inputs: Any, maximum: int = 0, summary: str = "", queue: str = "notebook") -> EventId:
        policy = RetryPolicy(maximum_attempts=maximum)
        count = sum(isinstance(event.attributes, ActivityTaskScheduled) for event in self.events)
        attributes = ActivityTaskScheduled(str(count + 1), name, queue, tuple(map(value, inputs)), retry_policy=policy)
        return self.event(attributes, summary)

    def begin(self, scheduled: EventId, attempt: int = 1) -> None:
        self.records.append(ActivityAttemptStarted(self.now, scheduled, attempt, "4711@notebook"))

    def fails_once(self, scheduled: EventId, attempt: int, failure: Failure, backoff: float) -> None:
        due = self.now + round(backoff * SECOND)
        self.records.append(ActivityAttemptFailed(self.now, scheduled, attempt, failure, due, "4711@notebook"))

    def heartbeat(self, scheduled: EventId, *details: Any, attempt: int = 1) -> None:
        self.records.append(ActivityHeartbeatRecorded(self.now, scheduled, attempt, tuple(map(value, details))))

    def prints(self, scheduled: EventId, text: str, stream: str = "stdout", attempt: int = 1) -> None:
        self.records.append(ActivityOutputCaptured(self.now, scheduled, attempt, stream, text))

    def complete(self, scheduled: EventId, result: Any = None, attempt: int = 1) -> None:
        started = self.event(ActivityTaskStarted(scheduled, "4711@notebook", attempt))
        self.event(ActivityTaskCompleted(scheduled, started, (value(result),)))

    def fail(self, scheduled: EventId, failure: Failure, attempt: int = 1) -> None:
        started = self.event(ActivityTaskStarted(scheduled, "4711@notebook", attempt, failure))
        self.event(ActivityTaskFailed(scheduled, started, failure, RetryState.MAXIMUM_ATTEMPTS_REACHED))

    def timer(self, seconds: float, summary: str = "") -> EventId:
        return self.event(TimerStarted(str(len(self.events)), round(seconds * SECOND)), summary)

    def fire(self, timer: EventId) -> None:
        started = self.events[timer - 1].attributes
        assert isinstance(started, TimerStarted)
        self.event(TimerFired(started.timer_id, timer))

    def signal(self, name: str, *inputs: Any) -> EventId:
        return self.event(WorkflowExecutionSignaled(name, tuple(map(value, inputs))))

    def done(self, result: Any = None) -> None:
        self.task()
        self.event(WorkflowExecutionCompleted((value(result),)))

    def run_fails(self, failure: Failure) -> None:
        self.task()
        self.event(WorkflowExecutionFailed(failure))

    def timeline(self, *, has_worker: bool | None = None) -> Timeline:
        return fold(self.run, self.events, self.records, self.now, has_worker=has_worker)


# --- samples --------------------------------------------------------------------------------------------------------

CELL_TRACE = (
    "Traceback (most recent call last):\n"
    '  File "/opt/env/lib/python3.11/site-packages/flowkernel/replay/loop.py", line 88, in step\n'
    '    self._step()\n  File "/tmp/ipykernel_4711/2044563.py", line 3, in weather\n    rows = clean(raw)\n'
    "NameError: name 'clean' is not defined\n"
)


def running() -> History:
    history = History("weather", "seattle", {"year": 2012})
    history.after(0.012).task()
    load = history.schedule("load", "seattle.csv", maximum=3)
    history.begin(load)
    history.after(0.4).prints(load, "GET seattle.csv\n")
    history.after(0.4).fails_once(load, 1, application("ConnectionError", "refused by 10.0.0.7:443"), 1.0)
    history.after(1.05).begin(load, 2)
    history.after(0.9).complete(load, [[1, 2], [3, 4]], 2)
    history.after(0.004).task()
    cool = history.timer(2.0, "let the server rest")
    clean = history.schedule("clean", maximum=5)
    history.after(0.2).begin(clean)
    history.after(1.8).fire(cool)
    history.task()
    summarise = history.schedule("summarise", {"by": "month"}, maximum=3)
    history.begin(summarise)
    history.after(0.8).heartbeat(clean, {"rows": 1461})
    history.after(0.6).fails_once(summarise, 1, application("ValueError", "no rows for February"), 4.0)
    history.signal("pause", {"until": "noon"})
    history.timer(30.0)
    history.after(0.7)
    return history


def completed() -> History:
    history = History("weather", "seattle")
    history.after(0.01).task()
    load = history.schedule("load", "seattle.csv", maximum=5)
    history.begin(load)
    for attempt, wait in ((1, 1.0), (2, 2.0)):
        history.after(0.35).prints(load, f"attempt {attempt}: GET seattle.csv\n", attempt=attempt)
        history.after(0.05).fails_once(load, attempt, application("ConnectionError", "connection refused"), wait)
        history.after(wait).begin(load, attempt + 1)
    history.after(0.6).prints(load, "1461 rows\n", attempt=3)
    history.complete(load, {"rows": 1461, "columns": ["date", "precipitation", "temp_max"]}, 3)
    history.after(0.003).task()
    months = [history.schedule("clean", f"2012-{month:02}") for month in range(1, 5)]
    for month in months:
        history.begin(month)
    for month in months:
        history.after(0.25).complete(month, month * 7)
    history.task()
    timer = history.timer(1.5)
    history.after(1.501).fire(timer)
    history.task()
    history.after(2.2).signal("approve", {"by": "ada"})
    history.task()
    plot = history.schedule("plot", summary="draw the monthly means")
    history.after(0.3).begin(plot)
    history.after(0.9).complete(plot, "weather.svg")
    history.after(0.002).done({"mean": 11.4, "plot": "weather.svg"})
    return history


def failed() -> History:
    history = History("refund", "order-17")
    history.task()
    charge = history.schedule("charge_card", "order-17", 99.5, maximum=2)
    history.begin(charge)
    error = application("CardDeclined", "insufficient funds", 'Traceback:\n  File "/home/ada/pay.py", line 41, in charge_card\n')
    history.after(0.8).fails_once(charge, 1, error, 1.0)
    history.after(1.0).begin(charge, 2)
    history.after(0.7).fail(charge, error, 2)
    wrapper = ActivityFailure(charge, charge, "4711@notebook", "charge_card", "1", RetryState.MAXIMUM_ATTEMPTS_REACHED)
    history.after(0.002).run_fails(Failure("Activity task failed", wrapper, error))
    return history


def suspended() -> History:
    history = History("weather", "seattle")
    history.task()
    load = history.schedule("load", "seattle.csv")
    history.begin(load)
    history.after(1.2).complete(load, [1, 2, 3])
    history.after(0.01).task_fails(application("NameError", "name 'clean' is not defined", CELL_TRACE), attempts=4)
    history.after(2.5)
    return history


def waiting_for_signal() -> History:
    history = History("approval", {"amount": 1200})
    history.task()
    notify = history.schedule("notify", "ada@example.org")
    history.begin(notify)
    history.after(0.4).complete(notify, "sent")
    history.task()
    history.after(7_500)
    return history


def fan_out(count: int = 60) -> History:
    history = History("thumbnails", "album-7")
    history.task()
    listing = history.schedule("list_images", "album-7")
    history.begin(listing)
    history.after(0.5).complete(listing, count)
    history.task()
    ids = [history.schedule("thumbnail", f"image-{index:03}.jpg", maximum=3) for index in range(count)]
    slots = 8
    for offset in range(0, count, slots):
        batch = ids[offset : offset + slots]
        for scheduled in batch:
            history.begin(scheduled)
        for place, scheduled in enumerate(batch):
            history.after(0.02 + 0.01 * (place % 3))
            if scheduled % 29 == 0:
                history.fail(scheduled, application("UnidentifiedImageError", f"cannot identify image {scheduled}"))
            else:
                history.complete(scheduled, {"bytes": scheduled * 100})
    history.task()
    history.schedule("publish", "album-7")
    history.after(0.1).begin(len(history.events))
    history.after(0.6)
    return history


SAMPLES = {
    "running": running,
    "completed": completed,
    "failed": failed,
    "suspended": suspended,
    "signal": waiting_for_signal,
    "fan-out": fan_out,
}
