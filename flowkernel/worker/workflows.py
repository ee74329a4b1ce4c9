"""Runs workflow code: one thread, a cache of instances, and a watch for code that blocks.

Workflow code runs apart from every event loop, so that code which blocks harms nobody else. When an activation takes longer
than the deadlock timeout, its task is answered as failed, the stuck thread is asked to stop and left behind, and a new one takes
over.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flowkernel.api import Service, call_sync
from flowkernel.converter import DataConverter, PayloadTooLargeError
from flowkernel.exceptions import ApplicationError
from flowkernel.model.errors import FlowkernelError
from flowkernel.model.events import Event
from flowkernel.model.failures import Failure
from flowkernel.model.ids import RunId, RunRef
from flowkernel.model.payloads import Payloads
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.requests import (
    GetWorkflowExecutionHistory,
    PollWorkflowTasks,
    QueryFailed,
    RespondQueryTaskCompleted,
    RespondWorkflowTaskCompleted,
    RespondWorkflowTaskFailed,
    WakeWorkflowTasks,
)
from flowkernel.model.tasks import WorkflowTask
from flowkernel.replay import NondeterminismError, OutdatedInstance, WorkflowCodeError, WorkflowDefinition, WorkflowInstance
from flowkernel.worker.coding import Coding
from flowkernel.worker.guard import guarded
from flowkernel.worker.sizes import check_sizes
from flowkernel.worker.tracebacks import from_authors_code, is_authors
from flowkernel.worker.watch import Deadlock, Watch, break_out

log = logging.getLogger("flowkernel.worker")
suspended = logging.getLogger("flowkernel.worker.suspended")
"""Speaks when workflow code fails. A name of its own, since a notebook shows that in its timelines."""

HISTORY_WAIT = 30.0
"""Seconds to wait for a history that the cache no longer holds."""


class _Evict:
    """Message to the workflow thread: drop these runs from the cache; all of a type when ``workflow_type`` is set."""

    def __init__(self, run_id: RunId | None = None, workflow_type: str | None = None) -> None:
        self.run_id = run_id
        self.workflow_type = workflow_type


_Message = tuple[WorkflowTask, ...] | _Evict | None


class _Running:
    """An author's code runs inside the block: guarded, and watched. A class, since a generator would take 5 µs of every task."""

    __slots__ = ("_runner", "_task")

    def __init__(self, runner: WorkflowRunner, task: WorkflowTask) -> None:
        self._runner, self._task = runner, task

    def __enter__(self) -> None:
        if self._runner.watch is not None:
            self._runner.watch.begin(self._task)
        guarded.__enter__()

    def __exit__(self, *_: object) -> None:
        guarded.__exit__()
        if self._runner.watch is not None and self._runner.thread is threading.current_thread():
            self._runner.watch.end()


class WorkflowRunner:
    """The workflow half of a worker.

    Args:
        waits_for_unknown: leave tasks of unregistered types in the queue instead of failing them.
        deadlock_timeout: seconds; None switches the watch off.
        on_fatal: told, on any thread, that there are no more tasks to be had.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str,
        task_queue: str,
        worker_id: str,
        identity: str,
        converter: DataConverter,
        coding: Coding,
        definitions: Iterable[WorkflowDefinition],
        failure_exception_types: tuple[type[BaseException], ...] = (),
        max_concurrent: int = 100,
        max_cached: int = 1000,
        deadlock_timeout: float | None = 2.0,
        waits_for_unknown: bool = False,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._on_fatal = on_fatal
        self._service = service
        self._namespace, self._task_queue = namespace, task_queue
        self._worker_id, self._identity = worker_id, identity
        self._converter, self._coding = converter, coding
        self._definitions = {definition.name: definition for definition in definitions}
        self._hashes = {name: _hash(definition) for name, definition in self._definitions.items()}
        self._failure_exception_types = failure_exception_types
        self._max_concurrent, self._max_cached = max_concurrent, max_cached
        self._waits_for_unknown = waits_for_unknown
        self._cache: OrderedDict[RunId, WorkflowInstance] = OrderedDict()
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._told: dict[RunId, str] = {}
        self._wished = 0
        self._taken = 0
        self._stopping = False
        self._ended = threading.Event()
        self._batch: deque[WorkflowTask] = deque()
        self.watch = Watch(deadlock_timeout, self._give_up) if deadlock_timeout is not None else None
        self.thread: threading.Thread | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take tasks."""
        self._start_thread()
        if self.watch is not None:
            self.watch.start()
        if self._definitions or self._waits_for_unknown:
            self._poll()

    def stop(self) -> None:
        """Finish what is in hand, and end the threads. Stop polling first, with `UnregisterWorker`."""
        self._stopping = True
        self._post(None)
        if self.thread is not threading.current_thread():
            self._ended.wait()  # with the watch still there: if code blocks, a new thread ends in place of the stuck one
        if self.watch is not None:
            self.watch.stop()

    def _start_thread(self) -> None:
        self.thread = threading.Thread(
            target=contextvars.Context().run, args=(self._run, self._inbox), name="flowkernel-workflow", daemon=True
        )
        self.thread.start()

    # --- definitions ------------------------------------------------------------------------------------------------

    def register(self, definition: WorkflowDefinition) -> None:
        """Add a definition, or put it in the place of the one with the same name.

        Executions that were suspended by the old code are tried again at once.
        """
        replaced = definition.name in self._definitions
        changed = replaced and self._definitions[definition.name] is not definition
        self._definitions = {**self._definitions, definition.name: definition}
        self._hashes = {**self._hashes, definition.name: _hash(definition)}
        if changed:
            self._post(_Evict(workflow_type=definition.name))
        if self.thread is None:
            return
        if self._wished:
            self._service.send(self._request(0))
        else:
            self._poll()
        if changed and definition.name is not None:
            names = frozenset({definition.name})
            self._service.send(WakeWorkflowTasks(self._namespace, self._task_queue, names))

    @property
    def names(self) -> list[str]:
        """Registered workflow types."""
        return sorted(name for name in self._definitions if name is not None)

    # --- polling ----------------------------------------------------------------------------------------------------

    def _request(self, wished: int) -> PollWorkflowTasks:
        types = frozenset(self.names) if self._waits_for_unknown and None not in self._definitions else None
        return PollWorkflowTasks(self._namespace, self._task_queue, self._worker_id, wished, self._identity, types)

    def _poll(self) -> None:
        with self._lock:
            free = self._max_concurrent - self._taken - self._wished
            if free <= 0 or self._stopping:
                return
            self._wished += free
        self._service.send(self._request(free), lambda tasks, error: self._take(free, tasks, error))

    def _take(self, wished: int, tasks: tuple[WorkflowTask, ...] | None, error: BaseException | None) -> None:
        with self._lock:
            self._wished -= wished
            self._taken += len(tasks or ())
        if tasks:
            self._post(tasks)
            self._poll()
        elif error is not None and not self._stopping:
            self._on_fatal(error)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _post(self, message: _Message) -> None:
        """Hand something to the workflow thread, whichever that is."""
        with self._lock:
            self._inbox.put(message)

    def _run(self, inbox: queue.SimpleQueue[_Message]) -> None:
        """The thread. An inbox of its own: a thread that is left behind must not take what is meant for the next one."""
        mine = threading.current_thread()
        while self.thread is mine:
            try:
                message = inbox.get()
                if message is None:
                    self._evict_all()
                    break
                if isinstance(message, _Evict):
                    self._drop(message)
                else:
                    self._work_off(message, mine)
            except Deadlock:
                continue  # left behind, or asked to end a moment after all went well
            except BaseException:
                log.exception("the workflow thread stumbled and goes on")
        if self.thread is mine:
            self._ended.set()

    def _work_off(self, tasks: tuple[WorkflowTask, ...], mine: threading.Thread) -> None:
        self._batch = batch = deque(tasks)
        while batch:
            self._handle(batch.popleft())
            if self.thread is not mine:
                return
            with self._lock:
                self._taken -= 1
        self._poll()

    def _handle(self, task: WorkflowTask) -> None:
        try:
            if task.query is not None:
                answer: Any = self._answer_query(task)
            else:
                answer = self._answer(task)
        except Exception as error:  # a bug here must fail the task, not the thread
            log.exception("workflow task of %s failed inside the worker", task.run)
            self._evict(task.run.run_id)
            answer = self._failed(task, error) if task.token is not None else None
        if self.thread is not threading.current_thread() or answer is None:
            return  # the watch has answered this task
        if isinstance(answer, RespondWorkflowTaskCompleted):
            self._service.send(answer, lambda _, error: self._evict_if(error, task.run))
        else:
            self._service.send(answer)

    def _answer(self, task: WorkflowTask, *, again: bool = False) -> RespondWorkflowTaskCompleted | RespondWorkflowTaskFailed:
        token = task.token
        assert token is not None
        definition = self._definition(task.workflow_type)
        if definition is None:
            known = ", ".join(self.names) or "none"
            message = f"Workflow class {task.workflow_type} is not registered on this worker, available workflows: {known}"
            return self._failed(task, ApplicationError(message, type="NotFoundError"))
        try:
            instance, events = self._instance(task, definition)
            with _Running(self, task):
                commands = instance.activate(events)
            if self._coding.active:
                commands = self._coding.encode_sync(commands)
            check_sizes(commands, self._converter.payload_size_limit, task.workflow_type)
        except (WorkflowCodeError, PayloadTooLargeError) as error:
            self._evict(task.run.run_id)
            cause = from_authors_code(error.__cause__ or error)
            self._tell(task, error, cause if is_authors(cause) else None)
            return self._failed(task, cause)
        except NondeterminismError as error:
            self._evict(task.run.run_id)
            self._tell(task, error)
            return self._failed(task, error.with_traceback(None), WorkflowTaskFailedCause.NON_DETERMINISTIC_ERROR)
        except OutdatedInstance as error:
            self._evict(task.run.run_id)
            return self._failed(task, error) if again else self._answer(task, again=True)
        if self._told:
            self._told.pop(task.run.run_id, None)
        kept = not instance.closed and self._max_cached > 0
        if not kept:
            self._evict(task.run.run_id)
        return RespondWorkflowTaskCompleted(token, commands, self._worker_id, kept, self._hashes.get(definition.name, ""))

    def _tell(self, task: WorkflowTask, error: FlowkernelError, cause: BaseException | None = None) -> None:
        """Say in the log that code failed: once, though it is tried again and again."""
        if self._told.get(task.run.run_id) != str(error):
            self._told[task.run.run_id] = str(error)
            suspended.warning("%s", error, exc_info=cause)

    def _failed(
        self,
        task: WorkflowTask,
        error: BaseException,
        cause: WorkflowTaskFailedCause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE,
    ) -> RespondWorkflowTaskFailed:
        assert task.token is not None
        return RespondWorkflowTaskFailed(task.token, cause, self._failure(error), self._worker_id)

    def _failure(self, error: BaseException) -> Failure:
        failure = self._converter.failure_converter.to_failure(error, self._converter.payload_converter)
        return self._coding.encode_sync(failure)

    def _answer_query(self, task: WorkflowTask) -> RespondQueryTaskCompleted:
        query = task.query
        assert query is not None
        definition = self._definition(task.workflow_type)
        if definition is None:
            known = ", ".join(self.names) or "none"
            message = f"Workflow class {task.workflow_type} is not registered on this worker, available workflows: {known}"
            return RespondQueryTaskCompleted(query.query_id, error=message)
        try:
            instance, events = self._instance(task, definition)
            args: Payloads = self._coding.decode_sync(query.args)
            with _Running(self, task):
                if events:
                    instance.activate(events, answer=False)
                result = instance.query(query.query_type, args, query.header)
        except QueryFailed as error:
            failure = self._coding.encode_sync(error.failure)
            return RespondQueryTaskCompleted(query.query_id, error=error.message, failure=failure)
        except FlowkernelError as error:
            self._evict(task.run.run_id)
            cause = error.__cause__ or error
            return RespondQueryTaskCompleted(query.query_id, error=str(cause), failure=self._failure(cause))
        return RespondQueryTaskCompleted(query.query_id, self._coding.encode_sync(result))

    # --- the cache --------------------------------------------------------------------------------------------------

    def _definition(self, workflow_type: str) -> WorkflowDefinition | None:
        return self._definitions.get(workflow_type) or self._definitions.get(None)

    def _instance(self, task: WorkflowTask, definition: WorkflowDefinition) -> tuple[WorkflowInstance, tuple[Event, ...]]:
        """The run's instance and the events it has not seen."""
        run_id, events = task.run.run_id, task.events
        if task.first_event_id == 1:
            # The service thinks that this worker does not keep the run. What it does keep may never have become durable.
            self._evict(run_id)
        cached = self._cache.get(run_id)
        if cached is not None:
            newer = tuple(event for event in events if event.event_id > cached.last_event_id)
            if not newer or newer[0].event_id == cached.last_event_id + 1:
                self._cache.move_to_end(run_id)
                return cached, self._coding.decode_sync(newer)
            self._evict(run_id)
        if task.first_event_id != 1:
            events = (*self._history(task.run, before=task.first_event_id), *events)
        instance = WorkflowInstance(
            definition,
            task.run,
            self._converter,
            failure_exception_types=self._failure_exception_types,
            report=partial(_report, task.run),
        )
        self._cache[run_id] = instance
        if len(self._cache) > max(self._max_cached, 1):
            _, oldest = self._cache.popitem(last=False)
            with guarded:
                oldest.evict()
        return instance, self._coding.decode_sync(events)

    def _history(self, run: RunRef, *, before: int) -> tuple[Event, ...]:
        request = GetWorkflowExecutionHistory(run.namespace, run.workflow_id, run.run_id)
        history = call_sync(self._service, request, HISTORY_WAIT)
        return tuple(event for event in history.events if not before or event.event_id < before)

    def _evict_if(self, error: BaseException | None, run: RunRef) -> None:
        if error is not None:
            self._post(_Evict(run.run_id))

    def _evict(self, run_id: RunId) -> None:
        instance = self._cache.pop(run_id, None)
        if instance is not None:
            with guarded:
                instance.evict()

    def _drop(self, message: _Evict) -> None:
        if message.run_id is not None:
            self._evict(message.run_id)
        else:
            for run_id, instance in list(self._cache.items()):
                if instance.runtime.definition.name == message.workflow_type:
                    self._evict(run_id)

    def _evict_all(self) -> None:
        for run_id in list(self._cache):
            self._evict(run_id)

    # --- deadlocks --------------------------------------------------------------------------------------------------

    def _give_up(self, stuck: WorkflowTask) -> None:
        """The thread is stuck in this task: answer it, leave the thread behind and go on with another."""
        with self._lock:
            thread, self.thread = self.thread, None
            old, self._inbox = self._inbox, queue.SimpleQueue()
            self._inbox.put(tuple(self._batch))
            while not old.empty():
                self._inbox.put(old.get_nowait())
            old.put(())  # wakes the thread if it got on after all, to find that it is no longer wanted
        if thread is None or self.watch is None:
            return
        # Whatever the stuck code does to its instance from now on must not be seen.
        self._cache = OrderedDict((run_id, instance) for run_id, instance in self._cache.items() if run_id != stuck.run.run_id)
        stack = break_out(thread)
        message = (
            f"[TMPRL1101] Potential deadlock detected: workflow didn't yield within {self.watch.timeout:g} second(s). "
            f"Put what computes or waits for that long into an activity."
        )
        log.error("workflow %r: %s\n%s", stuck.run.workflow_id, message, stack)
        if stuck.token is not None:
            failure = Failure(message, stack_trace=stack)
            cause = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE
            self._service.send(RespondWorkflowTaskFailed(stuck.token, cause, failure, self._worker_id))
        elif stuck.query is not None:
            self._service.send(RespondQueryTaskCompleted(stuck.query.query_id, error=message))
        with self._lock:
            self._taken -= 1
        self._start_thread()
        self._poll()


def _report(run: RunRef, message: str, error: BaseException | None) -> None:
    log.warning("workflow %r: %s", run.workflow_id, message, exc_info=error)


def _hash(definition: WorkflowDefinition) -> str:
    return hashlib.sha256(definition.source.encode()).hexdigest()[:16] if definition.source else ""
