"""A service, a worker and a client in one thread, on virtual time, with crashes where the test wants them.

The core and the store are the real ones; the worker runs workflow code through `flowkernel.replay` and activities as plain Python
functions. What a process holds in memory (core, worker, cached code, messages under way) is one *life*; a crash ends it. What
outlives it is the store, and `World`: what activities did to the outside, and what the client has to say.

An activity that takes time is a generator: it yields seconds to work for, or a `Beat`, and gets back whether its cancellation was
requested. The client speaks when nothing else can happen without time passing. It says a thing again until it has an answer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from simulated_worker import SimulatedWorker
from simulated_world import (
    NAMESPACE,
    QUEUE,
    START,
    WORKFLOW_ID,
    Crashed,
    Mend,
    Place,
    Program,
    Send,
    SendDuringTask,
    Sleep,
    Step,
    World,
)

from flowkernel.model import requests as req
from flowkernel.model.errors import RPCError, StoreError, WriteFailed
from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    Event,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowTaskCompleted,
)
from flowkernel.model.ids import SECOND, Instant, RunId
from flowkernel.model.records import ActivityAttemptStarted, EventBuffered
from flowkernel.model.tasks import ActivityTask
from flowkernel.model.transition import Transition
from flowkernel.service.core import Core
from flowkernel.service.recovery import recover
from flowkernel.store.memory import MemoryStore

ENDS = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut, ActivityTaskCanceled)
MAXIMUM_TURNS = 20_000


class Simulation:
    """Runs a program to its end, through the crashes that are planned.

    Args:
        crashes: number of a commit (from 1, counted through all lives) → what goes wrong there.
        seed: None for a fixed order of steps, the one that a single busy machine would show; else the order is drawn.
    """

    def __init__(self, program: Program, crashes: dict[int, Place] | None = None, seed: int | None = None) -> None:
        self.program = program
        self.definition = program.definition
        self.crashes = crashes or {}
        self.random = random.Random(seed) if seed is not None else None
        self.now = START
        self.store = MemoryStore()
        self.world = World()
        self.commits = 0
        self.lives = 0
        self.runs = 0
        self.forgotten_starts = 0
        self.steps = deque[Step]([Send(program.start), *program.client])
        self.spoken: Any = None
        self.client_wakes: Instant | None = None
        self.seen: list[Event] = []
        self.turns = 0
        self._boot()

    def _boot(self) -> None:
        self.lives += 1
        self.messages: deque[tuple[Any, Callable[[Any, BaseException | None], None]]] = deque()
        self.core = Core(self.store, self._new_run_id)
        recover(self.core, self.now)
        if self.spoken is not None:
            if isinstance(self.spoken, req.StartWorkflowExecution) and self.history and not self.core.runs.open:
                self.forgotten_starts += 1  # see test_a_request_is_forgotten_over_a_restart_once_its_run_has_closed
            self._speak(self.spoken)  # it had no answer
        self.worker = SimulatedWorker(self, self.lives)

    def _new_run_id(self, _: Instant) -> RunId:
        self.runs += 1
        return RunId(f"run-{self.runs}")

    def run(self) -> Simulation:
        """Go on until the client has nothing more to say and every run is closed."""
        while True:
            try:
                self._live()
            except Crashed:
                self.worker.die()
                self.store = self.store.reopened()
                self._boot()
            else:
                self.worker.die()
                return self

    def _live(self) -> None:
        while True:
            self._settle()
            if self._client_goes_on():
                continue
            if self.finished:
                return
            times = (self.core.next_due(), self.worker.next_wake(), self.client_wakes)
            due = [time for time in times if time is not None]
            assert due, f"nothing will ever happen again; the history ends with {self.history[-1:]}"
            self.now = max(self.now, min(due))
            self.core.pass_time(self.now)
            self.worker.wake()

    @property
    def finished(self) -> bool:
        return not self.steps and self.spoken is None and not self.core.runs.open

    # --- one instant ------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Do everything that needs no time."""
        core = self.core
        while True:
            self.turns += 1
            assert self.turns < MAXIMUM_TURNS, "this goes on and on"
            core.hand_out()
            steps = self._possible()
            if not steps:
                return
            (self.random.choice(steps) if self.random is not None else steps[0])()

    def _possible(self) -> list[Callable[[], None]]:
        steps: list[Callable[[], None]] = []
        if self.messages:
            steps.append(self._deliver)
        if self.core.pending and self.core.ripe:
            steps.append(self.commit)
        if self.worker.inbox:
            steps.append(self.worker.work)
        if self.core.pending and not self.core.ripe:
            steps.append(self.commit)  # the answers that it waits for take too long
        return steps

    def _deliver(self) -> None:
        request, reply = self.messages.popleft()
        self.core.handle(request, reply, self.now)

    def commit(self) -> None:
        """Make durable what has gathered, unless the plan says otherwise."""
        batch = self.core.take_batch()
        place = None
        if batch:
            self.commits += 1
            place = self.crashes.get(self.commits)
            if place is Place.BEFORE_STORE:
                raise Crashed
            if place is Place.REFUSED:
                self.core.failed(batch, WriteFailed(":memory:", "planned"))
                return
            self.store.commit(batch)
            self.check_transitions(batch)
            if place is Place.BEFORE_REPLIES:
                raise Crashed
        self.core.committed(batch)
        reads, self.core.reads = self.core.reads, []
        for read in reads:
            read()
        self.seen.extend(event for transition in batch for event in transition.events)
        if place is Place.AFTER_REPLIES:
            raise Crashed

    # --- the client -------------------------------------------------------------------------------------------------

    def _client_goes_on(self) -> bool:
        """Take the client's next step, if it is its turn."""
        if self.client_wakes is not None and self.client_wakes <= self.now:
            self.client_wakes = None
        if not self.steps or self.spoken is not None or self.client_wakes is not None:
            return False
        step = self.steps[0]
        if isinstance(step, SendDuringTask):
            if self.core.runs.open:
                return False
            step = Send(step.request)  # there will be no more tasks
        self.steps.popleft()
        match step:
            case Send():
                self._speak(step.request)
            case Sleep():
                self.client_wakes = self.now + int(step.seconds * SECOND)
            case Mend():
                self.definition = step.definition
                for run_id in list(self.worker.cache):
                    self.worker.evict(run_id)
                self._speak(req.WakeWorkflowTasks(NAMESPACE, QUEUE, frozenset({"program"})))
        return True

    def speak_during_task(self) -> bool:
        """The worker is about to answer a workflow task. Whether the client got a word in before."""
        step = self.steps[0] if self.steps else None
        if not isinstance(step, SendDuringTask) or self.spoken is not None or self.client_wakes is not None:
            return False
        if sum(isinstance(event.attributes, WorkflowTaskCompleted) for event in self.history) < step.after:
            return False
        self.steps.popleft()
        self._speak(step.request)
        while self.messages:
            self._deliver()
        self.commit()
        return True

    def _speak(self, request: Any) -> None:
        self.spoken = request

        def heard(answer: Any, error: BaseException | None) -> None:
            if self.spoken is not request:
                return
            if isinstance(error, StoreError):
                self._speak(request)
                return
            assert error is None or isinstance(error, RPCError), error
            if error is None:
                self.check_acknowledged(request)
            self.spoken = None

        self.messages.append((request, heard))

    # --- what always holds ------------------------------------------------------------------------------------------

    @property
    def run_id(self) -> RunId:
        row = self.store.find_run(NAMESPACE, WORKFLOW_ID)
        assert row is not None
        return row.run.run_id

    @property
    def history(self) -> tuple[Event, ...]:
        """What the store holds of the latest run."""
        row = self.store.find_run(NAMESPACE, WORKFLOW_ID)
        return self.store.history(row.run.run_id) if row is not None else ()

    def check_attempt(self, task: ActivityTask) -> None:
        """An attempt is durable before it runs, runs once, and not after the activity's end was committed."""
        token = task.token
        records = self.store.records(token.run.run_id)
        attempts = [(r.scheduled_event_id, r.attempt) for r in records if isinstance(r, ActivityAttemptStarted)]
        assert (token.scheduled_event_id, token.attempt) in attempts, "an attempt runs that is not durable"
        key = (token.run.run_id, token.scheduled_event_id, token.attempt)
        assert not self.world.attempts[key], f"attempt {key} runs twice"
        # A termination or a timeout may have come while the task was on its way; an end of its own may not.
        done = {e.attributes.scheduled_event_id for e in self._happened(token.run.run_id) if isinstance(e.attributes, ENDS)}
        assert token.scheduled_event_id not in done, "an attempt runs though the activity has ended"

    def _happened(self, run_id: RunId) -> list[Event]:
        buffered = [record.event for record in self.store.records(run_id) if isinstance(record, EventBuffered)]
        return [*self.store.history(run_id), *buffered]

    def check_transitions(self, batch: Sequence[Transition]) -> None:
        """Event ids have no gaps, and nothing follows the end."""
        for run_id in {transition.run.run_id for transition in batch}:
            ids = [event.event_id for event in self.store.history(run_id)]
            assert ids == list(range(1, len(ids) + 1))

    def check_acknowledged(self, request: Any) -> None:
        """What a client was told is in the store."""
        if isinstance(request, req.StartWorkflowExecution):
            assert self.store.find_run(NAMESPACE, request.workflow_id) is not None
        happened = [event.attributes for event in self._happened(self.run_id)]
        if isinstance(request, req.SignalWorkflowExecution):
            ids = [a.request_id for a in happened if isinstance(a, WorkflowExecutionSignaled)]
            assert request.request_id in ids, "an acknowledged signal is lost"
        if isinstance(request, req.RequestCancelWorkflowExecution):
            assert any(isinstance(a, WorkflowExecutionCancelRequested) for a in happened)
