"""A worker in one thread, on virtual time: workflow code through `flowkernel.replay`, activities as plain functions."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from simulated_world import CONVERTER, NAMESPACE, QUEUE, Attempt, Beat, Released, payloads, values

from flowkernel.exceptions import ApplicationError, CancelledError
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, RPCError, StoreError
from flowkernel.model.ids import SECOND, Instant, RunId
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.tasks import ActivityTask, WorkflowTask
from flowkernel.replay import OutdatedInstance, WorkflowCodeError, WorkflowInstance

if TYPE_CHECKING:
    from simulation import Simulation


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
