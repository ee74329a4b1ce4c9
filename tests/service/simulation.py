"""A service, a worker and a client in one thread, on virtual time, with crashes where the test wants them.

The core and the store are the real ones; the worker runs workflow code through `flowkernel.replay` and activities as plain Python
functions. What a process holds in memory (core, worker, cached code, messages under way) is one *life*; a crash ends it. What
outlives it is the store, and `World`: what activities did to the outside, and what the client has to say.

An activity that takes time is a generator: it yields seconds to work for, or a `Beat`, and gets back whether its cancellation was
requested. The client speaks when nothing else can happen without time passing. It says a thing again until it has an answer.
"""

from __future__ import annotations

import enum
import inspect
import random
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from flowkernel.converter import DataConverter
from flowkernel.exceptions import ApplicationError, CancelledError
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, RPCError, StoreError, WriteFailed
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
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.records import ActivityAttemptStarted, EventBuffered
from flowkernel.model.tasks import ActivityTask, WorkflowTask
from flowkernel.model.transition import Transition
from flowkernel.replay import OutdatedInstance, WorkflowCodeError, WorkflowDefinition, WorkflowInstance
from flowkernel.service.core import Core
from flowkernel.service.recovery import recover
from flowkernel.store.memory import MemoryStore

NAMESPACE, QUEUE, WORKFLOW_ID = "default", "queue", "order"
START: Instant = 1_767_225_600 * SECOND
ENDS = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut, ActivityTaskCanceled)
CONVERTER = DataConverter.default
MAXIMUM_TURNS = 20_000


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


# --- the worker -------------------------------------------------------------------------------------------------------


class _Running:
    """An activity attempt that takes time."""

    def __init__(self, task: ActivityTask, code: Generator[Any, Any, Any], wake: Instant) -> None:
        self.task, self.code, self.wake = task, code, wake
        self.cancel_requested = False


class SimulatedWorker:
    """Takes tasks one after the other. Keeps runs cached for as long as it lives."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.simulation = simulation
        self.worker_id = f"worker-{number}"
        self.inbox: deque[WorkflowTask | ActivityTask] = deque()
        self.running: list[_Running] = []
        self.cache: dict[RunId, WorkflowInstance] = {}
        self.dead = False
        self._poll(req.PollWorkflowTasks, 2)
        self._poll(req.PollActivityTasks, 5)

    def _send(self, request: Any, reply: Callable[[Any, BaseException | None], None] | None = None) -> None:
        def guarded(answer: Any, error: BaseException | None) -> None:
            if reply is not None and not self.dead:
                reply(answer, error)

        self.simulation.messages.append((request, guarded))

    def _poll(self, kind: Any, count: int) -> None:
        def take(tasks: Any, error: BaseException | None) -> None:
            assert error is None
            assert tasks, "a registered worker's poll is answered with tasks"
            self.inbox.extend(tasks)
            self._poll(kind, count)

        self._send(kind(NAMESPACE, QUEUE, self.worker_id, count), take)

    def die(self) -> None:
        """The process is gone. The code's objects are torn down for Python's sake; they may not say anything any more."""
        self.dead = True
        for instance in self.cache.values():
            instance.evict()
        for attempt in self.running:
            attempt.code.close()

    # --- workflow tasks ---------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Do the next task."""
        task = self.inbox.popleft()
        if isinstance(task, ActivityTask):
            self._begin(task)
            return
        if self.simulation.speak_during_task():
            self.inbox.appendleft(task)
            return
        self._activate(task)

    def _activate(self, task: WorkflowTask) -> None:
        run_id = task.run.run_id
        if task.first_event_id == 1:
            self.evict(run_id)  # the service says that this worker does not keep the run
        instance = self.cache.get(run_id)
        if instance is None and task.first_event_id != 1:
            self._fetch(task)
            return
        if instance is None:
            instance = WorkflowInstance(self.simulation.definition, task.run, CONVERTER)
            self.cache[run_id] = instance
        assert task.token is not None
        try:
            commands = instance.activate(task.events)
        except OutdatedInstance:
            self.evict(run_id)
            self._fetch(task)
            return
        except WorkflowCodeError as error:
            self.evict(run_id)
            failure = CONVERTER.failure_converter.to_failure(error.__cause__ or error, CONVERTER.payload_converter)
            cause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
            self._send(req.RespondWorkflowTaskFailed(task.token, cause, failure, self.worker_id))
            return
        cached = not instance.closed
        if not cached:
            self.evict(run_id)
        answer = req.RespondWorkflowTaskCompleted(task.token, commands, self.worker_id, cached)
        self._send(answer, lambda _, error: self.evict(run_id) if error is not None else None)

    def _fetch(self, task: WorkflowTask) -> None:
        def go_on(history: Any, error: BaseException | None) -> None:
            assert error is None
            before = [event for event in history.events if event.event_id < task.first_event_id]
            self.inbox.appendleft(replace(task, events=(*before, *task.events), first_event_id=1))

        self._send(req.GetWorkflowExecutionHistory(NAMESPACE, task.run.workflow_id, task.run.run_id), go_on)

    def evict(self, run_id: RunId) -> None:
        instance = self.cache.pop(run_id, None)
        if instance is not None:
            instance.evict()

    # --- activities -------------------------------------------------------------------------------------------------

    def _begin(self, task: ActivityTask) -> None:
        simulation, world = self.simulation, self.simulation.world
        simulation.check_attempt(task)
        world.attempts[task.token.run.run_id, task.token.scheduled_event_id, task.attempt] += 1
        context = Attempt(world, task.activity_id, task.attempt, tuple(values(task.heartbeat_details)))
        fn = simulation.program.activities[task.activity_type]
        code = _as_generator(fn, context, values(task.input))
        running = _Running(task, code, simulation.now)
        self.running.append(running)
        self._resume(running, None)

    def next_wake(self) -> Instant | None:
        """When an attempt has worked for as long as it wanted."""
        return min((attempt.wake for attempt in self.running), default=None)

    def wake(self) -> None:
        """Let attempts go on whose time has come."""
        for attempt in [attempt for attempt in self.running if attempt.wake <= self.simulation.now]:
            self._resume(attempt, attempt.cancel_requested)

    def _resume(self, attempt: _Running, value: Any) -> None:
        token = attempt.task.token
        try:
            while True:
                wish = attempt.code.send(value)
                if isinstance(wish, Beat):
                    self._beat(attempt, wish)
                    value = attempt.cancel_requested
                else:
                    attempt.wake = self.simulation.now + int(wish * SECOND)
                    return
        except StopIteration as done:
            self.simulation.world.effects[attempt.task.activity_id] += 1
            self._report(req.RespondActivityTaskCompleted(token, payloads(done.value)))
        except Released:
            self._report(req.ReleaseActivityTask(token))
        except CancelledError:
            self._report(req.RespondActivityTaskCanceled(token))
        except ApplicationError as error:
            failure = CONVERTER.failure_converter.to_failure(error, CONVERTER.payload_converter)
            self._report(req.RespondActivityTaskFailed(token, failure))
        self.running.remove(attempt)

    def _beat(self, attempt: _Running, beat: Beat) -> None:
        def heard(answer: Any, error: BaseException | None) -> None:
            attempt.cancel_requested = isinstance(error, ExecutionNotFound) or (answer is not None and answer.cancel_requested)

        self._send(req.RecordActivityTaskHeartbeat(attempt.task.token, payloads(*beat.details)), heard)

    def _report(self, request: Any) -> None:
        """Say how the attempt ended; again, when the store could not take it."""

        def heard(_: Any, error: BaseException | None) -> None:
            if isinstance(error, StoreError):
                self._report(request)
            else:
                assert error is None or isinstance(error, RPCError)

        self._send(request, heard)


def _as_generator(fn: Callable[..., Any], context: Attempt, args: list[Any]) -> Generator[Any, Any, Any]:
    if inspect.isgeneratorfunction(fn):
        return fn(context, *args)

    def plain() -> Generator[Any, Any, Any]:
        return fn(context, *args)
        yield  # makes this a generator

    return plain()


# --- everything together ------------------------------------------------------------------------------------------------


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
        changes = self.core.committed(batch)
        reads, self.core.reads = self.core.reads, []
        for read in reads:
            read()
        self.seen.extend(event for change in changes for event in change.events)
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
